#include "apps/data/compose/colours.h"

namespace lexel::data {

const std::vector<Colour>& thing_colours() {
  static const std::vector<Colour> colours{
      {"red", {220, 40, 45}},    {"orange", {245, 135, 25}}, {"yellow", {250, 215, 45}},
      {"green", {60, 170, 65}},  {"blue", {45, 105, 220}},   {"purple", {140, 65, 190}},
      {"pink", {245, 125, 180}}, {"brown", {130, 80, 45}},   {"grey", {135, 140, 145}}};
  return colours;
}

const std::vector<Colour>& background_colours() {
  static const std::vector<Colour> colours{
      {"white", {255, 255, 255}}, {"black", {28, 28, 32}},    {"grey", {180, 182, 186}},
      {"red", {232, 92, 84}},     {"orange", {250, 172, 92}}, {"yellow", {252, 230, 120}},
      {"green", {126, 198, 116}}, {"blue", {112, 168, 236}},  {"purple", {172, 132, 216}},
      {"pink", {252, 188, 208}},  {"brown", {160, 122, 92}}};
  return colours;
}

std::array<uint8_t, 3> gradient_end(const Colour& colour) {
  std::array<uint8_t, 3> end = colour.rgb;
  const bool dark = colour.rgb[0] + colour.rgb[1] + colour.rgb[2] < 150;
  for (uint8_t& level : end) level = static_cast<uint8_t>(dark ? level + 90 : level * 6 / 10);
  return end;
}

}  // namespace lexel::data
