#include "apps/extract_task.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "autoregressive/extract_task.h"
#include "autoregressive/generator_file.h"
#include "kernels/check.h"
#include "tokenizers/io/model_file.h"

namespace lexel::cli {

int run_extract_task(const ExtractTaskOptions& options) {
  const ar::Stored stored = ar::parse_stored(options.weights);
  const ModelFile whole = read_model_file(options.model);
  ar::Generator generator = ar::read_generator(whole, options.model, at::kCPU);
  const int64_t before = parameter_count(ar::parameters(generator.model));
  generator.model = ar::task_model(generator.model, options.task);
  const nlohmann::ordered_json provenance = {
      {"task", options.task},
      {"from", nlohmann::ordered_json::parse(whole.provenance, nullptr, /*exceptions=*/false)}};
  write_model_file(options.output,
                   ar::generator_file(generator, stored, provenance.dump(), whole.license));
  std::cerr << "lexel extract-task: " << options.output << ": task " << options.task << ", "
            << parameter_count(ar::parameters(generator.model)) << " of " << before
            << " parameters\n";
  return 0;
}

}  // namespace lexel::cli
