#include "apps/txt2img/ranks.h"

#include <chrono>
#include <string>
#include <utility>

#include "autoregressive/parallel/sharded_drawing.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/sha256.h"

namespace lexel::cli {

parallel::Mesh drawing_mesh(const Txt2ImgOptions& options) {
  const auto timeout = std::chrono::milliseconds(static_cast<int64_t>(options.timeout * 1000.0));
  const parallel::World world = parallel::world_from_environment(timeout);
  const std::string text =
      options.mesh.empty() && world.size > 1 ? concat("tensor=", world.size) : options.mesh;
  const parallel::MeshShape shape = parallel::parse_mesh(text);
  for (const auto& [axis, length] : shape.axes) {
    check(axis == "tensor" || length == 1, ErrorKind::kUsage, "mesh ", text, ": axis ", axis,
          ": pictures are drawn along tensor alone");
  }
  if (world.size > 1) {
    check(resolve_device(options.device).is_cpu(), ErrorKind::kUnsupported, "mesh ", text,
          ": several ranks draw on the CPU alone; use --device cpu");
    check(options.captions != std::vector<std::string>{"-"} && options.prompts != "-",
          ErrorKind::kUsage, "mesh ", text,
          ": expected captions as arguments or in a file, not on stdin, which one rank has");
  }
  return parallel::Mesh(world, shape, at::kCPU);
}

Txt2ImgOptions own_options(const Txt2ImgOptions& options, const parallel::Mesh& mesh) {
  Txt2ImgOptions own = options;
  if (mesh.world().rank == 0) return own;
  own.quiet = true;
  own.preview.clear();
  return own;
}

TextToImage::Pack pack_for(parallel::Mesh& mesh) {
  if (mesh.world().size == 1) return {};
  return [&mesh](ar::Model model, kernels::WeightFormat format) {
    return parallel::pack_share(std::move(model), format, mesh);
  };
}

void check_same_drawing(const parallel::Mesh& mesh, const Txt2ImgOptions& options,
                        const Record& asked, const std::vector<Job>& jobs,
                        const TextToImage& model) {
  const parallel::World& world = mesh.world();
  if (world.size == 1) return;
  std::string drawing = concat(to_png_text(asked).at(kRecordKeyword), " ", options.rerank, " ",
                               options.keep_top, "\n", options.edit, "\n", options.mask);
  for (const Job& job : jobs) drawing += concat("\n", job.number, " ", job.caption.text);
  parallel::check_same_everywhere(world, "generator", model.generator_fingerprint().substr(0, 12));
  parallel::check_same_everywhere(world, "tokenizer", model.tokenizer_fingerprint().substr(0, 12));
  parallel::check_same_everywhere(world, "captions and options (their SHA-256)",
                                  sha256(drawing.data(), drawing.size()).substr(0, 12));
}

}  // namespace lexel::cli
