#include <ATen/TensorOperators.h>
#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/eval/metrics.h"
#include "apps/eval/upsampler/options.h"
#include "apps/picture_stream.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/load.h"
#include "tokenizers/upsampler.h"

namespace lexel::cli {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kSheetPictures = 12;

/// Numbers of every picture.
struct Gathered {
  std::vector<double> psnr, bicubic_psnr, gain;  // dB
  int64_t too_small = 0;                         // pictures left out
  std::string hashes;                            // of the originals as they were compared
  std::vector<std::vector<Image>> sheet;
};

void measure(const at::Tensor& original, const ImageTokenizer& tokenizer,
             const PictureUpsampler& upsampler, Gathered& g) {
  const at::Tensor small = draw_small(tokenizer, original, upsampler.scale()).cpu();
  const at::Tensor bicubic = vqgan::bicubic_enlarged(small, upsampler.scale()).clamp(0, 1);
  const at::Tensor large = upsampler.upscale(small).cpu();
  g.psnr.push_back(eval::psnr(large, original).item<double>());
  g.bicubic_psnr.push_back(eval::psnr(bicubic, original).item<double>());
  g.gain.push_back(g.psnr.back() - g.bicubic_psnr.back());
  const Image seen = to_image(original[0]);
  g.hashes += sha256(seen.pixels.const_data_ptr(), seen.pixels.nbytes());
  if (static_cast<int64_t>(g.sheet.size()) < kSheetPictures)
    g.sheet.push_back({seen, to_image(bicubic[0]), to_image(large[0])});
}

Gathered gather(const EvalUpsamplerOptions& options, const ImageTokenizer& tokenizer,
                const PictureUpsampler& upsampler) {
  Preprocess preprocess = tokenizer.info().preprocess;
  preprocess.fit = "crop";
  preprocess.image_size *= upsampler.scale();
  PictureStream stream(options.data, preprocess, 0);
  const int64_t known = stream.size_hint();
  Progress progress("lexel eval", options.limit > 0 ? options.limit : known, "pictures",
                    options.quiet);
  Gathered g;
  StreamedPicture picture;
  while ((options.limit == 0 || static_cast<int64_t>(g.psnr.size()) < options.limit) &&
         stream.next(picture)) {
    check(picture.problem.empty(), picture.problem_kind, picture.problem);
    const Layout& layout = picture.prepared.layout;
    if (std::min(layout.width, layout.height) < preprocess.image_size) {
      ++g.too_small;
      continue;
    }
    measure(picture.prepared.tiles, tokenizer, upsampler, g);
    progress.update(static_cast<int64_t>(g.psnr.size()));
  }
  check(g.psnr.size() >= 2, ErrorKind::kUsage, "lexel eval: expected two pictures of ",
        preprocess.image_size, " pixels a side at least, got ", g.psnr.size());
  return g;
}

ordered_json report(const EvalUpsamplerOptions& options, const Gathered& g,
                    const ImageTokenizer& tokenizer, int64_t scale) {
  const auto mean = [&](const std::vector<double>& values) -> ordered_json {
    const eval::Interval interval =
        eval::bootstrap_mean(values, static_cast<uint64_t>(options.seed), options.resamples);
    return {{"value", interval.estimate}, {"low", interval.low}, {"high", interval.high}};
  };
  return {
      {"upsampler", options.upsampler},
      {"scale", scale},
      {"tokenizer", tokenizer.info().name},
      {"codebook fingerprint", tokenizer.info().codebook_fingerprint},
      {"data", options.data},
      {"pictures", g.psnr.size()},
      {"too small, left out", g.too_small},
      {"reference set SHA-256", sha256(g.hashes.data(), g.hashes.size())},
      {"recipe",
       {{"PSNR", "mean over pictures of 10 log10(1 / MSE), RGB in [0, 1], against the original"},
        {"input", "the middle square, averaged down, tokenized and drawn"},
        {"intervals", concat("95 %, percentile bootstrap over pictures, seed ", options.seed)}}},
      {"metrics",
       {{"PSNR (dB)", mean(g.psnr)},
        {"PSNR of bicubic (dB)", mean(g.bicubic_psnr)},
        {"gain over bicubic (dB)", mean(g.gain)}}}};
}

std::string table(const ordered_json& report) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << report["upsampler"].get<std::string>() << " on "
      << report["pictures"] << " pictures, " << report["too small, left out"] << " too small (set "
      << report["reference set SHA-256"].get<std::string>().substr(0, 12) << ")\n";
  for (const auto& [name, value] : report["metrics"].items()) {
    out << "  " << std::left << std::setw(28) << name << std::right << std::setw(7)
        << value["value"].get<double>() << "  [" << value["low"].get<double>() << ", "
        << value["high"].get<double>() << "]\n";
  }
  return out.str();
}

}  // namespace

int run_eval_upsampler(const EvalUpsamplerOptions& options) {
  const auto upsampler = load_upsampler(options.upsampler, options.device);
  const auto tokenizer = load_image_tokenizer(options.model, options.device);
  const Gathered gathered = gather(options, *tokenizer, *upsampler);
  const ordered_json result = report(options, gathered, *tokenizer, upsampler->scale());
  if (!options.output.empty()) write_file(options.output, result.dump(2) + "\n");
  if (!options.sheet.empty())
    write_image(options.sheet, contact_sheet(gathered.sheet, {"original", "bicubic", "upsampler"}));
  write_stdout(table(result));
  return 0;
}

}  // namespace lexel::cli
