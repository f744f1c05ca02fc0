"""An MCP server: assistants search and classify galleries and open their images, over stdin and stdout."""
