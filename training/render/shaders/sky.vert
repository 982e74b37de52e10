in vec2 position;
out vec2 place;
void main() { place = position; gl_Position = vec4(position, .999999, 1); }
