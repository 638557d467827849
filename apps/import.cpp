#include "apps/import.h"

#include <iostream>

#include "tokenizers/import.h"
#include "tokenizers/io/model_file.h"

namespace lexel::cli {

int run_import(const ImportOptions& options) {
  const ModelFile model = import_checkpoint(options.input, options.heads);
  write_model_file(options.output, model);
  std::cerr << "lexel import: " << options.output << ": " << model.kind << ", "
            << model.tensors.size() << " tensors (lexel info says more)\n";
  return 0;
}

}  // namespace lexel::cli
