in vec3 position; in vec2 uv;
uniform mat4 model, view;
out vec2 place;
void main() { place = uv; gl_Position = view * model * vec4(position, 1); }
