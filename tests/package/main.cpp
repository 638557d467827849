#include <iostream>

#include "kernels/check.h"

int main() {
  try {
    lexel::fail(lexel::ErrorKind::kBadData, "cat.png: not a PNG file");
  } catch (const lexel::Error& error) {
    std::cout << error.what() << '\n';
    return error.exit_code() == 3 ? 0 : 1;
  }
}
