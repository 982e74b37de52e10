in vec2 place;
uniform sampler2D surface; uniform vec4 value; uniform float hole;
out vec4 result;
void main() { if (hole > 0. && texture(surface, place).a < hole) discard; result = value; }
