#include <iostream>

#include "tokenizers/io/image.h"
#include "tokenizers/load.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;  // MODEL PHOTO OUTPUT
  const auto tokenizer = lexel::load_image_tokenizer(argv[1]);
  const lexel::Image photo = lexel::read_image(argv[2]);
  const at::Tensor tokens =
      tokenizer->encode(lexel::prepare(photo, tokenizer->info().preprocess).tiles);
  std::cout << tokens.sizes() << " tokens of " << tokenizer->info().codebook_size << " codes\n";
  lexel::write_image(argv[3], lexel::to_image(tokenizer->decode(tokens)[0]));
}
