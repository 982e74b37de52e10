// With ROAD the colour is computed: a road along x with markings, pavements and grass.
in vec3 at, facing, paint; in vec2 place; in vec4 in_light;
out vec4 result;
uniform sampler2D surface; uniform sampler2DShadow shadow;
uniform vec3 sun, eye, sky, tint, sun_colour, ambient;
uniform float gloss, haze, texel, bias, hole;
#ifdef ROAD
uniform vec3 asphalt, pavement, grass;
uniform float half_width;
float hash(vec2 q) { return fract(sin(dot(q, vec2(12.9898, 78.233))) * 43758.5453); }
#include "noise.glsl"
float stripe(float off, float half_size, float soft) {
  return 1. - smoothstep(half_size - soft, half_size + soft, abs(off));
}
vec3 ground(float away) {
  float soft = .01 + .002 * away, fine = exp(-away * .035);
  float grain = mix(.5, noise(at.xy * 5.), fine) * .5 + noise(at.xy * .35) * .5;
  float beyond = abs(at.y) - half_width;
  if (beyond > 0.) {
    vec3 c = mix(pavement, grass, smoothstep(3.4, 3.6, beyond)) * (.75 + .5 * grain);
    if (beyond < 3.4) {
      vec2 slab = fract(at.xy / 1.5);
      c *= 1. - .25 * fine * max(stripe(slab.x, .012, soft), stripe(slab.y, .012, soft));
    }
    return c * (1. - .3 * stripe(beyond - .1, .1, soft));
  }
  float mark = stripe(at.y, .07, soft) * step(fract(at.x / 9.), .4);
  mark = max(mark, stripe(beyond + 2.2, .05, soft));
  return mix(asphalt * (.72 + .56 * grain), vec3(.72, .72, .68), mark * (.6 + .3 * grain));
}
#endif
float lit() {
  vec3 s = in_light.xyz / in_light.w * .5 + .5;
  if (any(lessThan(s.xy, vec2(.002))) || any(greaterThan(s.xy, vec2(.998))) || s.z > 1.) return 1.;
  float share = 0.;
  for (int i = -1; i <= 1; i += 2) for (int j = -1; j <= 1; j += 2)
    share += texture(shadow, vec3(s.xy + vec2(i, j) * texel * .6, s.z - bias));
  return share * .25;
}
void main() {
  float away = length(eye - at);
  vec3 toward = (eye - at) / away, n = normalize(facing);
  if (dot(n, toward) < 0.) n = -n;
#ifdef ROAD
  vec3 albedo = ground(away);
#else
  vec4 texel_colour = texture(surface, place);
  if (texel_colour.a < hole) discard;
  vec3 albedo = pow(texel_colour.rgb * paint * tint, vec3(2.2));
#endif
  float share = lit();
  vec3 indirect = mix(ambient * .8, sky * .55, n.z * .5 + .5);
  vec3 bounce = reflect(-toward, n);
  vec3 around = mix(vec3(.12, .12, .11), sky, smoothstep(-.1, .25, bounce.z));
  float fresnel = .04 + .96 * pow(1. - max(dot(n, toward), 0.), 5.);
  float spot = pow(max(dot(bounce, sun), 0.), 60.) * .8;
  vec3 c = albedo * (indirect + sun_colour * max(dot(n, sun), 0.) * share)
         + gloss * (around * fresnel * 1.6 + sun_colour * share * spot);
  c = mix(c, sky, 1. - exp(-away * haze));
  c = c / (1. + c * .35);
  result = vec4(pow(clamp(c, 0., 1.), vec3(1 / 2.2)), 1);
}
