#include "apps/data/compose/composer.h"
#include "apps/train/generator/samples.h"

namespace lexel::train {
namespace {

class SceneSource : public SampleSource {
 public:
  SceneSource(const std::string& sprites, const std::vector<std::string>& backgrounds,
              uint64_t seed, const data::ComposeConfig& config, int64_t items, int64_t held_out)
      : composer_(sprites, backgrounds, seed, config), items_(items), held_out_(held_out) {}

  const std::string& name() const override { return name_; }
  int64_t items() const override { return items_; }
  int64_t held_out() const override { return held_out_; }
  Sample item(int64_t k) const override { return sample(k, data::Split::kTrain); }
  Sample held_out_item(int64_t k) const override { return sample(k, data::Split::kHeldOut); }
  const std::string& fingerprint() const override { return composer_.fingerprint(); }

 private:
  Sample sample(int64_t k, data::Split split) const {
    data::Scene scene = composer_.scene(k, split);
    Sample result;
    result.caption = std::move(scene.caption);
    result.kind = data::name_of(scene.truth.kind);
    result.picture = to_tensor(scene.picture);
    return result;
  }

  std::string name_ = "scenes";
  data::Composer composer_;
  int64_t items_, held_out_;
};

}  // namespace

std::unique_ptr<SampleSource> scene_source(const std::string& sprites,
                                           const std::vector<std::string>& backgrounds,
                                           uint64_t seed, const data::ComposeConfig& config,
                                           int64_t items, int64_t held_out) {
  return std::make_unique<SceneSource>(sprites, backgrounds, seed, config, items, held_out);
}

}  // namespace lexel::train
