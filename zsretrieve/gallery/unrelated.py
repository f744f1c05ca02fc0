"""Texts as people type them, of things that few galleries hold: what a query scores that describes nothing.

They are of many kinds, so that no gallery holds half of them: science, crafts, machines, rare animals, places, events,
documents and ideas; with and without articles, as words, phrases and captions.
"""

TEXTS = tuple(
    """
a photo of an electron micrograph of pollen
MRI scan of a knee
a petri dish with bacteria
periodic table
the double helix of DNA
Geiger counter
a seismograph recording an earthquake
sextant
a photo of an oscilloscope
centrifuge in a laboratory
a particle accelerator
telescope mirror being polished
a photo of an astrolabe
moon rover
a satellite in orbit
rings of Saturn
a photo of a solar eclipse
comet over mountains
a weather balloon
hurricane from space
a bathyscaphe
oil rig in a storm
a nuclear cooling tower
wind tunnel
a photo of a steam locomotive
funicular railway
a tunnel boring machine
combine harvester
a snowplough at night
fire engine
an icebreaker in the Arctic
submarine surfacing
a photo of a gondola in Venice
hovercraft
a zeppelin
biplane
a parachutist landing
dog sled race
a photo of a unicycle
penny-farthing
a photo of a blacksmith at an anvil
potter's wheel
a spinning wheel
loom with half a carpet
a glassblower
bookbinder's workshop
a printing press
typewriter ribbon
a photo of a beekeeper with a smoker
cheese cellar
a distillery
sushi chef
a plate of haggis
paella for twenty people
a wedding cake of seven tiers
durian fruit
pickled herring
jar of saffron
an espresso machine
tea ceremony
a violin maker
bagpiper in a kilt
a church organ
opera on stage
a photo of a ballet rehearsal
puppet theatre
a sumo match
fencing duel
pole vault
synchronised swimming
curling stones on ice
chess tournament
a photo of a rodeo
bullfight
a sandcastle contest
carnival mask
a lion dance
royal coronation
a parliament in session
courtroom sketch
a photo of a ransom note
crossword puzzle
a page of hieroglyphs
musical score by hand
a map of the London underground
tax form
a bar chart of exports
circuit diagram
a photo of a screenshot of a spreadsheet
pirate flag
an election poster
postage stamp
a Roman coin
suit of armour
a samurai sword
mummy in a museum
a photo of a dinosaur skeleton
cave painting
a stained glass window
Byzantine mosaic
a totem pole
pyramids at dawn
a rice terrace
active volcano
a photo of a glacier calving
coral reef
a mangrove swamp
salt flat
an iceberg
peat bog
a beaver dam
axolotl
a photo of a pangolin
narwhal
a platypus
komodo dragon
a barn owl in flight
leafcutter ant
a praying mantis
Venus flytrap
a photo of an orchid seedling
baobab
a dentist at work
newborn in an incubator
a firefighter on a ladder
astronaut repairing a station
a knight and a dragon
loneliness
justice
sound of rain
a surprise party
nostalgia for the eighties
    """.strip().splitlines()
)
