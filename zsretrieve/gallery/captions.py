"""Texts of many kinds, as people search for images and describe them, to measure the recall of texts with.

Labels and sentences, short and long, of things, scenes, people, animals, colours, counts, styles, actions, negations and
feelings, most in English and some in other languages. Those of a grammar are the same for every version of Python.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

COUNT = 3000

_SEED = 0
_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")


def captions() -> tuple[str, ...]:
    """``COUNT`` distinct texts, always the same: every label and phrase there is, then sentences of the grammar."""
    words = {name: tuple(" ".join(text.split()).split(", ")) for name, text in _WORDS.items()}
    phrases = _PHRASES.strip().split("\n")
    made = dict.fromkeys((*(word for name in _LABELS for word in words[name]), *phrases))
    rng, templates = random.Random(_SEED), _TEMPLATES.strip().split("\n")
    while len(made) < COUNT:
        made[_filled(_picked(templates, rng), words, rng)] = None
    return tuple(made)


def _filled(template: str, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    text = _SLOT.sub(lambda slot: _picked(words[slot[1]], rng), template)
    return _ARTICLE.sub(r"\1n ", text)


def _picked(some: Sequence[str], rng: random.Random) -> str:
    # Of the methods of a generator, only random() is promised to stay the same.
    return some[int(rng.random() * len(some))]


_LABELS = ("animal", "thing", "food", "vehicle", "place", "job", "plant", "sport", "clothing", "idea", "event")

_WORDS = {
    "animal": """dog, cat, horse, tabby cat, golden retriever, border collie, pug, husky puppy, kitten, cow, calf, goat, lamb,
        piglet, donkey, camel, elephant, giraffe, zebra, lion, tiger, leopard, cheetah, brown bear, polar bear, panda,
        koala, kangaroo, wolf, fox, deer, moose, squirrel, hedgehog, rabbit, hamster, mouse, otter, seal, walrus, dolphin,
        whale, shark, goldfish, octopus, jellyfish, crab, lobster, sea turtle, frog, toad, lizard, chameleon, crocodile,
        snake, tortoise, eagle, owl, hawk, parrot, penguin, flamingo, swan, duck, goose, rooster, hen, peacock, pigeon,
        crow, robin, hummingbird, ostrich, butterfly, bee, ladybird, dragonfly, spider, snail, ant, beetle, bat, gorilla,
        chimpanzee, orangutan, lemur, sloth, raccoon, skunk, badger, bison, llama, reindeer""",
    "thing": """chair, table, lamp, sofa, bed, bookshelf, desk, mirror, clock, vase, candle, curtain, carpet, pillow, blanket,
        bathtub, sink, toilet, refrigerator, oven, kettle, frying pan, teapot, mug, wine glass, plate, fork, knife, spoon,
        bowl, bottle, jar, basket, bucket, broom, ladder, hammer, screwdriver, saw, drill, toolbox, rope, chain, padlock,
        key, coin, wallet, suitcase, backpack, umbrella, walking stick, pair of glasses, camera, tripod, telescope,
        microscope, laptop, keyboard, computer mouse, monitor, telephone, remote control, headphones, loudspeaker, radio,
        television, guitar, piano, violin, trumpet, drum kit, saxophone, harp, accordion, book, newspaper, notebook,
        pencil, paintbrush, easel, globe, map, calendar, envelope, postcard, parcel, balloon, kite, teddy bear, doll,
        toy train, puzzle, chess board, deck of cards, dice, football, tennis racket, skateboard, surfboard, skis, tent,
        sleeping bag, campfire, lantern, flag, statue, fountain, traffic light, street sign, mailbox, bench, fence, gate,
        bridge, windmill, lighthouse, wheelchair, stethoscope, syringe, pill bottle, robot, circuit board""",
    "food": """pizza, hamburger, hot dog, sandwich, salad, bowl of soup, spaghetti, sushi, tacos, curry with rice, dumplings,
        steak, roast chicken, grilled fish, fried eggs, pancakes, waffles, croissant, loaf of bread, bagel, cheese board,
        apple pie, birthday cake, chocolate brownie, ice cream cone, doughnut, cupcake, biscuits, fruit bowl, strawberries,
        blueberries, bunch of grapes, sliced watermelon, pineapple, lemon, avocado toast, tomatoes, carrots, mushrooms,
        corn on the cob, cup of coffee, glass of orange juice, pint of beer, cocktail, glass of red wine""",
    "vehicle": """car, taxi, bus, lorry, van, motorcycle, bicycle, scooter, tram, train, steam engine, aeroplane, helicopter,
        hot air balloon, rocket, sailing boat, canoe, ferry, cargo ship, fishing boat, yacht, tractor, ambulance,
        police car, fire engine, racing car, camper van, convertible, golf cart, excavator, horse-drawn carriage""",
    "place": """beach, forest, mountain lake, desert, waterfall, river, meadow, vineyard, snowy mountain, cliff by the sea, island,
        cave, swamp, jungle, canyon, glacier, city street, market square, shopping centre, supermarket, railway station,
        airport, harbour, car park, motorway, petrol station, playground, football stadium, swimming pool, gym, school,
        classroom, library, museum, art gallery, theatre, cinema, concert hall, church, mosque, temple, castle, palace,
        skyscraper, apartment block, cottage, farm, barn, greenhouse, garden, park, zoo, aquarium, hospital, office,
        factory, construction site, workshop, laboratory, kitchen, living room, bedroom, bathroom, attic, cellar, balcony,
        rooftop, restaurant, cafe, bar, bakery, barber shop, hotel lobby, campsite, cemetery, village, suburb, tunnel""",
    "where": """on a beach, in the snow, in a forest, on a city street, in a kitchen, on a sofa, under a tree, by a lake, in a
        garden, on a mountain, in the rain, at night, in front of a window, on a wooden table, in a field of flowers, at
        sunset, on a boat, in a park, next to a car, behind a fence, in an office, in a crowded market, on a bridge, in a
        swimming pool, in the desert, on a train, at a railway station, in a bookshop, by the fireplace, on the grass, in
        front of an old church, at a party, on a rooftop, in the fog, on a white background, in a mirror, in a tent""",
    "person": """man, woman, boy, girl, baby, toddler, teenager, old man, old woman, child, couple, bride, groom, tourist,
        bearded man, woman in a red dress, man in a suit, man with a hat, woman with glasses, girl with braids, pregnant woman,
        student, grandmother, father with his son, mother with her daughter, monk, punk, clown, football fan""",
    "job": """firefighter, police officer, nurse, surgeon, dentist, teacher, chef, waiter, baker, butcher, farmer, fisherman,
        carpenter, plumber, electrician, welder, mechanic, pilot, astronaut, soldier, sailor, judge, scientist, painter,
        sculptor, photographer, ballet dancer, violinist, rock singer, cyclist, boxer, skier, lifeguard, postman""",
    "does": """reading a book, riding a bicycle, cooking dinner, playing the guitar, talking on the phone, drinking coffee,
        walking a dog, running, jumping into the water, dancing, sleeping, laughing, crying, shouting, waving, hugging a
        child, kissing, taking a photograph, painting a wall, climbing a ladder, fixing a car, digging a hole, watering
        plants, carrying a box, pushing a pram, looking at the sea, eating ice cream, blowing out candles, playing chess,
        doing yoga, swimming, skateboarding, fishing, waiting for a bus, working on a laptop, shaking hands, holding an
        umbrella, brushing teeth, feeding pigeons, opening a present, lighting a candle, pointing at a map""",
    "acts": """sleeping, running, jumping, eating, drinking water, swimming, looking at the camera, playing with a ball, yawning,
        climbing a tree, hiding, fighting, catching a fish, carrying a stick, with its young, in a cage, in the wild,
        standing still, licking its paw, shaking off water, being fed by hand, seen from behind, in a close-up""",
    "plant": """red rose, sunflower, tulips, daisy, orchid, lavender, cactus, fern, ivy, palm tree, oak tree, pine tree, birch
        wood, cherry blossom, autumn leaves, bonsai, bamboo, moss on a stone, dandelion, water lily, wheat field, mushrooms
        in the grass, houseplant, bouquet of flowers""",
    "sport": """football match, basketball game, tennis serve, golf swing, baseball batter, ice hockey, boxing match, judo,
        gymnastics, rowing, sailing regatta, surfing, snowboarding, ski jump, figure skating, marathon runners, long jump,
        cycling race, horse race, rock climbing, rugby scrum, volleyball, table tennis, archery, weightlifting""",
    "clothing": """T-shirt, jeans, raincoat, leather jacket, woollen jumper, evening dress, wedding dress, kimono, kilt, school
        uniform, apron, swimsuit, scarf, gloves, baseball cap, straw hat, helmet, sunglasses, high heels, running shoes,
        rubber boots, sandals, tie, necklace, earrings, wristwatch, handbag""",
    "colour": """red, blue, green, yellow, orange, purple, pink, black, white, grey, brown, turquoise, golden, silver, beige,
        dark blue, pale green, striped, checked, spotted, rainbow-coloured""",
    "quality": """old, new, broken, tiny, huge, wooden, metal, plastic, glass, rusty, dirty, shiny, empty, full, open, closed, antique,
        modern, handmade, expensive, cheap, abandoned, wet, frozen, burning, floating, transparent, inflatable""",
    "number": """two, three, four, five, six, seven, a dozen, many, several, hundreds of, a pair of, a row of, a pile of, a few""",
    "things": """apples, books, bottles, chairs, candles, balloons, flowers, coins, keys, shoes, umbrellas, bicycles, cars, boats,
        sheep, birds, dogs, cats, horses, fish, children, people, soldiers, dancers, houses, windows, clouds, stones, cups,
        eggs, oranges, tomatoes, pencils, boxes, suitcases, tents, flags, street lamps, trees, mushrooms""",
    "style": """a black and white photo, an oil painting, a watercolour, a pencil sketch, a cartoon, a 3D rendering, a pixel art image, a
        blurry photo, a close-up, an aerial view, a vintage photograph, a poster, a mosaic, a sculpture, a tattoo, an X-ray,
        a screenshot, a logo, a children's drawing, an engraving, graffiti, a stained glass window, an origami model, a
        macro shot, a long exposure, a fisheye photo, a selfie, a stamp, a plush toy, an embroidery, a silhouette""",
    "light": """at dawn, at noon, at dusk, by candlelight, in bright sunlight, under neon lights, in the moonlight, in thick fog, in heavy
        rain, during a thunderstorm, in winter, in spring, in summer, in autumn, backlit, in the shade, under the stars""",
    "mood": """sad, happy, angry, lonely, peaceful, frightening, funny, romantic, festive, chaotic, mysterious, cosy, elegant,
        boring, dangerous, tired, proud, surprised, nostalgic, hopeful""",
    "idea": """loneliness, freedom, childhood, poverty, luxury, teamwork, speed, silence, celebration, danger, home, friendship, grief,
        victory, growth, chaos, symmetry, nostalgia, healthy eating, climate change, artificial intelligence, remote work,
        recycling, ageing, justice, spring cleaning, social distancing, the passing of time""",
    "event": """wedding ceremony, birthday party, graduation, funeral, Christmas dinner, New Year fireworks, carnival parade, protest march,
        music festival, picnic, barbecue, job interview, business meeting, school trip, election, eclipse, flood,
        earthquake damage, forest fire, car accident, traffic jam, first day of school, moving house, harvest""",
}  # fmt: skip

_TEMPLATES = """
a photo of a {animal}
a {animal} {acts}
a {animal} {where}
a {colour} {thing}
a {quality} {thing} {where}
a {person} {does}
a {person} {does} {where}
a {job} at work {light}
{number} {things} {where}
{number} {things}
{style} of a {animal}
{style} of a {place} {light}
{style} of a {thing}
a {place} {light}
a {mood} {person}
a {mood} scene in a {place}
a plate of food: {food}
{food} {where}
a {colour} {vehicle} {where}
a {quality} {vehicle} in front of a {place}
a {person} wearing a {colour} {clothing}
a {clothing} hanging in a shop, {colour}
a {animal} and a {animal} together
a {thing} on top of a {thing}
a {thing} without people
a {place} with no people
a {person} not looking at the camera
an empty {place} {light}
a {plant} {light}
{style} of a {plant}
{sport} {light}
people watching: {sport}
{event} {where}
the feeling of {idea} in a {place}
{idea}, shown by a {person} {does}
a {person} and a {animal} {where}, {style}
a {place} seen from above, with {number} {things}
a {job} holding a {thing} while a {person} is {does}
In the foreground a {animal} is {acts}; behind it is a {place} {light}.
This image shows a {person} {does} {where} with a {colour} {thing} next to a {quality} {vehicle}.
close-up of the hands of a {job}
{animal} {vehicle}
{colour} {plant}
{place} {mood}
my {animal} {where} last summer
IMG_ {place} {event}
stock photo, {idea}, {person}, {place}
a small {animal} next to a large {thing}
the left half shows a {thing}, the right half a {animal}
a sign that says "{idea}" {where}
"""

_PHRASES = """
no people
nobody in the room
not a cat
a beach without umbrellas
a street with no cars
a table with nothing on it
a cake that has not been cut
a man without a beard
a face that is not smiling
anything but flowers
a dog that is not on a lead
an unfinished building
the sea, but no boats
sunset
blue
text on paper
upside down
out of focus
screenshot of an error message
receipt from a restaurant
whiteboard after a meeting
passport photo
group photo of about twenty colleagues
my daughter's first steps
where did we park
holiday in Italy 2015
handwriting
bar chart with four bars
floor plan of a flat
QR code
sheet music
weather map of Europe
chemical formula
table of numbers
a menu in a foreign language
a page from an old book
two hands making a heart
someone's shadow on a wall
reflection of clouds in a puddle
footprints in the sand
a light at the end of a tunnel
half eaten sandwich
a spider's web with drops of dew
steam rising from a cup
a child who has just dropped an ice cream and is about to cry
the moment before the ball goes into the net
an old photograph of a family in front of their house, all dressed in black, the youngest on his mother's lap
a long corridor with doors on both sides and a single lamp that is switched on at the far end
a kitchen in which somebody has cooked for many guests, with dirty pots in the sink and flour on the floor
three cyclists in yellow jerseys ride uphill between fields of lavender while a helicopter follows them
ein Hund am Strand
eine Katze schläft auf dem Sofa
altes Fachwerkhaus im Schnee
Kinder spielen Fussball
rotes Auto vor einer Kirche
Sonnenuntergang über dem Meer
ein Mann liest Zeitung im Zug
Geburtstagstorte mit Kerzen
kein Mensch auf der Strasse
Blumen auf dem Balkon
un chien sur la plage
une tasse de café sur une table en bois
la tour Eiffel la nuit
des enfants qui jouent dans la neige
un marché en plein air
une vieille femme qui sourit
un chat noir sur un toit
un champ de tournesols
un perro corriendo en el parque
una playa al atardecer
dos niños montando en bicicleta
una taza de chocolate con churros
una calle vacía por la noche
una boda en el campo
una casa blanca con puertas azules
un gatto sul tetto
una piazza con una fontana
una barca sul lago
pizza margherita appena sfornata
nonna che prepara la pasta
um cachorro na praia
um prato de feijoada
crianças a nadar no rio
um elétrico amarelo em Lisboa
een fiets tegen een brug
een molen achter de tulpen
koeien in de wei
pies biegnący po śniegu
stary zamek na wzgórzu
talerz pierogów
hund på stranden
röd stuga vid sjön
norrsken över fjällen
kissa ikkunalla
järvi metsässä syksyllä
pes na sněhu
most přes řeku v noci
egy kutya a kertben
cățel în iarbă
bir kedi pencerede
deniz kenarında gün batımı
ένα λευκό σπίτι δίπλα στη θάλασσα
собака на пляже
кошка спит на диване
старый дом в лесу
дети играют в снегу
красная машина
чашка чая и книга
пес на снігу
куче в парка
海滩上的狗
雪中的山
一杯茶
红色的汽车
孩子们在公园里玩耍
夜晚的城市街道
沒有人的房間
海辺の犬
桜の木の下の猫
ラーメン
雪の降る町
富士山と湖
바닷가의 강아지
김치찌개
비 오는 거리
كلب على الشاطئ
فنجان قهوة على الطاولة
مدينة في الليل
כלב על החוף
समुद्र तट पर एक कुत्ता
लाल साड़ी पहने एक महिला
একটি নৌকা নদীতে
สุนัขบนชายหาด
một con chó trên bãi biển
anjing di pantai
mbwa ufukweni
"""
