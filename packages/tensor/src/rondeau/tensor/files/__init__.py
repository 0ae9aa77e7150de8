"""Files: durable writing, arrays as safetensors, and any nesting of them and of plain values in one file."""
