in vec3 position; in vec3 normal; in vec2 uv; in vec3 colour;
uniform mat4 model, view, light;
out vec3 at, facing, paint; out vec2 place; out vec4 in_light;
void main() {
  vec4 world = model * vec4(position, 1);
  at = world.xyz; facing = mat3(model) * normal; place = uv; paint = colour;
  in_light = light * world;
  gl_Position = view * world;
}
