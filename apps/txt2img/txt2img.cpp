#include <algorithm>
#include <iostream>
#include <optional>

#include "apps/progress.h"
#include "apps/txt2img/artist.h"
#include "apps/txt2img/captions.h"
#include "apps/txt2img/options.h"
#include "apps/txt2img/outputs.h"
#include "apps/txt2img/ranks.h"
#include "apps/txt2img/record.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::cli {
namespace {

constexpr int64_t kMaxPictureBytes = int64_t{1} << 30;
constexpr int64_t kMaxPictures = 1'000'000;  // of one run

Record read_record(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxPictureBytes);
  return record_from_png_text(read_png_text(bytes.data(), bytes.size(), path), path);
}

/// What all pictures of the run have in common.
Record asked_of(const Txt2ImgOptions& options) {
  if (!options.like.empty()) return read_record(options.like);
  Record asked;
  asked.sampling.guidance = options.guidance;
  asked.sampling.schedule = options.schedule;
  asked.sampling.temperature = options.temperature;
  asked.sampling.top_k = options.top_k;
  asked.sampling.top_p = options.top_p;
  asked.sampling.seed = options.seed;
  asked.sampling.cache = cache_type(options.cache);
  asked.precision = options.precision;
  return asked;
}

std::vector<Job> jobs_of(const Captions& captions, int64_t count) {
  check_arg(static_cast<int64_t>(captions.sound.size()) <= kMaxPictures / count, "txt2img",
            "expected at most ", kMaxPictures, " pictures, got ", captions.sound.size(), " x ",
            count);
  std::vector<Job> jobs;
  for (const Caption& caption : captions.sound) {
    for (int64_t i = 0; i < count; ++i) jobs.push_back({caption, caption.number * count + i});
  }
  return jobs;
}

/// One rank's part of the work.
int draw_all(const Txt2ImgOptions& options, parallel::Mesh& mesh) {
  const bool again = !options.like.empty();
  const Record asked = asked_of(options);
  Captions captions;
  if (again) {
    captions.sound = {{asked.caption, asked.picture, options.like}};
  } else {
    const bool from_stdin = options.captions == std::vector<std::string>{"-"};
    captions = read_captions(options.captions, from_stdin ? "-" : options.prompts);
  }
  if (mesh.world().rank == 0) {
    for (const std::string& problem : captions.problems)
      std::cerr << "txt2img: " << problem << "\n";
  }
  const int code_of_problems =
      captions.problems.empty() ? 0 : static_cast<int>(ErrorKind::kBadData);
  const std::vector<Job> jobs = jobs_of(captions, options.count);
  if (jobs.empty()) return code_of_problems;

  std::optional<Outputs> outputs;  // of rank 0
  if (mesh.world().rank == 0) outputs.emplace(options, jobs);
  Artist artist(options, asked, again, pack_for(mesh));
  check_same_drawing(mesh, options, asked, jobs, artist.model());
  bool same = true;
  {
    Progress progress("txt2img", static_cast<int64_t>(jobs.size()) * artist.tokens_a_picture(),
                      "tokens", options.quiet);
    for (size_t first = 0; first < jobs.size(); first += artist.at_once()) {
      const size_t last = std::min(jobs.size(), first + artist.at_once());
      const std::vector<Job> group(jobs.begin() + static_cast<long>(first),
                                   jobs.begin() + static_cast<long>(last));
      for (const Drawn& drawn : artist.draw(group, progress)) {
        if (outputs) outputs->add(drawn, artist.model().tokenizer().info());
        same = same && (!again || drawn.record.tokens == asked.tokens);
      }
    }
  }
  const std::string written = outputs ? outputs->finish() : "";
  if (!written.empty() && !options.quiet) std::cerr << "txt2img: wrote " << written << "\n";
  check(same, ErrorKind::kBadData, options.like,
        ": this machine drew other tokens with the same model and seed (it computes in another "
        "order)");
  return code_of_problems;
}

}  // namespace

int run_txt2img(const Txt2ImgOptions& options) {
  parallel::Mesh mesh = drawing_mesh(options);
  const Txt2ImgOptions own = own_options(options, mesh);
  int code = 0;
  parallel::run_as_rank(mesh.world(), [&] { code = draw_all(own, mesh); });
  return code;
}

}  // namespace lexel::cli
