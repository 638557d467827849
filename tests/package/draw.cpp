#include <iostream>

#include "autoregressive/text_to_image.h"
#include "tokenizers/io/image.h"

int main(int argc, char** argv) {
  if (argc != 5) return 2;  // GENERATOR TOKENIZER CAPTION OUTPUT
  const lexel::TextToImage artist(argv[1], argv[2]);
  lexel::TextToImage::Options options;
  options.sampling.guidance = 2.0;
  options.on_row = [](int64_t rows, const at::Tensor&) { return bool(std::cerr << rows << "\r"); };
  lexel::write_image(argv[4], lexel::to_image(artist.draw({argv[3]}, options).images[0]));
}
