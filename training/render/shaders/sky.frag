in vec2 place;
uniform mat4 back; uniform vec3 sky, zenith; uniform vec2 cloud;
out vec4 result;
float hash(vec2 p) { return fract(sin(dot(p, vec2(127.1, 311.7))) * 43758.5); }
#include "noise.glsl"
void main() {
  vec4 far = back * vec4(place, 1, 1);
  vec3 way = normalize(far.xyz / far.w);
  vec2 p = way.xy / max(way.z, .05) * 1.2 + cloud.y;
  float cover = 0., part = .5;
  for (int i = 0; i < 4; i++) { cover += part * noise(p); p *= 2.1; part *= .5; }
  vec3 c = mix(sky, zenith, clamp(way.z * 1.6, 0., 1.));
  c = mix(c, vec3(1), smoothstep(cloud.x, cloud.x + .35, cover) * smoothstep(.02, .2, way.z));
  c = c / (1. + c * .35);
  result = vec4(pow(clamp(c, 0., 1.), vec3(1 / 2.2)), 1);
}
