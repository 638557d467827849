#include "apps/train/cut_adafactor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <mutex>

#include "apps/train/batch_share.h"
#include "apps/train/checkpoint.h"
#include "apps/train/optimizer.h"
#include "apps/train/team.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/ranks.h"
#include "tests/support/temporary_folder.h"

// Adafactor of tensors of which each rank of an axis holds a part, beside one rank.

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::on_mesh;
using tests::relative_difference;

/// A tensor and how ranks share it.
struct Case {
  std::string name;
  std::vector<int64_t> shape;
  std::string axis;  // "": all have it
  int64_t dim = 0, stacked = 1;
};

/// Rows of a stack of three, columns, a vector, rows of experts, and what all ranks hold. Cuts into 2, and along "tensor" into 4, fall
/// between blocks of 128.
const std::vector<Case> kCases = {{"qkv", {12, 128}, "tensor", 0, 3},
                                  {"down", {8, 512}, "tensor", 1},
                                  {"bias", {512}, "tensor", 0},
                                  {"experts", {8, 96}, "expert", 0},
                                  {"both", {6, 10}, ""},
                                  {"norm", {13}, ""}};

PlaceOfTensor place_in(const Case& c, parallel::Mesh& mesh) {
  PlaceOfTensor place{c.shape, {}, true, ""};
  for (const char* const axis : {"tensor", "expert"})
    if (c.axis != axis && mesh.coordinate(axis) != 0) place.counts = false;
  const int64_t ranks = c.axis.empty() ? 1 : mesh.along(c.axis).size();
  if (ranks == 1) return place;
  place.axis = c.axis;
  place.part.dim = c.dim;
  const int64_t each = c.shape[size_t(c.dim)] / c.stacked, own = each / ranks;
  for (int64_t m = 0; m < c.stacked; ++m)
    place.part.ranges.emplace_back(m * each + mesh.coordinate(c.axis) * own, own);
  return place;
}

at::Tensor cut(const at::Tensor& whole, const PlaceOfTensor& place) {
  if (place.part.ranges.empty()) return whole.clone();
  std::vector<at::Tensor> parts;
  for (const auto& [first, count] : place.part.ranges)
    parts.push_back(whole.narrow(place.part.dim, first, count));
  return at::cat(parts, place.part.dim).contiguous();
}

/// This rank's parts of the tensors, with an optimizer.
class PartedRun {
 public:
  PartedRun(parallel::Mesh& mesh, Method method) : mesh_(mesh) {
    for (size_t i = 0; i < kCases.size(); ++i) {
      places_[kCases[i].name] = place_in(kCases[i], mesh);
      weights_.push_back(cut(tests::random_tensor(i, kCases[i].shape), places_[kCases[i].name]));
    }
    for (size_t i = 0; i < kCases.size(); ++i)
      list_.push_back({kCases[i].name, weights_[i].sizes().vec(), Init::zeros(), &weights_[i], "",
                       /*decay=*/kCases[i].shape.size() > 1});
    require_gradients(list_, true);
    optimizer_ = std::make_unique<Optimizer>(
        list_,
        OptimizerOptions{.epsilon = 1e-30,
                         .weight_decay = 0.1,
                         .clip_norm = 1.0,
                         .average = 0.9,
                         .method = method},
        mesh.along("data"), norm_over(mesh),
        TensorPlaces{
            [this](const std::string& name) { return places_.at(name); },
            [this](const std::string& axis) -> parallel::Group& { return mesh_.along(axis); }});
  }

  /// Steps of two passes, which ranks along "data" share. Returns the norms.
  std::vector<double> steps(int64_t begin, int64_t end) {
    std::vector<double> norms;
    const BatchShare share = batch_share(2, mesh_.along("data").size(), mesh_.coordinate("data"));
    for (int64_t step = begin; step < end; ++step) {
      optimizer_->zero_gradients();
      for (int64_t part = 0; part < share.parts(); ++part) {
        const int64_t number = share.number(step * share.parts() + part);
        at::Tensor loss = at::zeros({});
        for (size_t i = 0; i < kCases.size(); ++i) {
          const at::Tensor gradient =
              tests::random_tensor(uint64_t(1000 + 10 * number) + i, kCases[i].shape);
          loss = loss + (weights_[i] * cut(gradient, places_[kCases[i].name])).sum();
        }
        if (part + 1 == share.parts()) optimizer_->overlap_next_backward();
        (loss / double(share.parts())).backward();
      }
      norms.push_back(optimizer_->step(0.01, {}));
    }
    return norms;
  }

  void expect_parts_of(const PartedRun& one, double tolerance) const {
    for (size_t i = 0; i < kCases.size(); ++i)
      EXPECT_LT(relative_difference(weights_[i],
                                    cut(one.weights_[i].detach(), places_.at(kCases[i].name))),
                tolerance)
          << kCases[i].name;
  }
  void save(const std::string& path, int64_t step) {
    std::vector<StatePiece> pieces = optimizer_->state();
    std::erase_if(pieces, [](const StatePiece& piece) { return !piece.counts; });
    write_checkpoint(path, "{}", concat("{\"kind\":\"test\",\"step\":", step, "}"), pieces,
                     mesh_.world());
  }
  void load(const std::string& path, int64_t step) {
    restore_pieces(read_checkpoint(path), path, optimizer_->state());
    optimizer_->set_steps(step);
    optimizer_->share_weights();
  }

 private:
  parallel::Mesh& mesh_;
  std::map<std::string, PlaceOfTensor> places_;
  std::vector<at::Tensor> weights_;
  ParameterList list_;
  std::unique_ptr<Optimizer> optimizer_;
};

class CutAdafactor : public testing::TestWithParam<Method> {};
INSTANTIATE_TEST_SUITE_P(Moments, CutAdafactor,
                         testing::Values(Method::kAdafactor, Method::kAdafactorInt8),
                         [](const auto& tested) {
                           return tested.param == Method::kAdafactor ? "float32" : "int8";
                         });

TEST_P(CutAdafactor, PartsMakeTheStepsOfOneRankAndEachGoesOnWithTheOthersCheckpoint) {
  // An int8 moment that rounds the other way is half a scale, 1 / 254 of its block's largest, off; times a rate of 0.01.
  const double tolerance = GetParam() == Method::kAdafactorInt8 ? 1e-4 : 1e-6;
  const tests::TemporaryFolder folder;
  const std::string of_one = (folder / "one.safetensors").string();
  parallel::Mesh alone;
  PartedRun one(alone, GetParam());
  std::vector<double> norms = one.steps(0, 3);
  one.save(of_one, 3);
  PartedRun early(alone, GetParam());
  early.steps(0, 1);
  for (const double norm : one.steps(3, 6)) norms.push_back(norm);
  int number = 0;
  for (const char* const shape :
       {"tensor=2", "tensor=4", "expert=2", "expert=2,tensor=2", "data=2,tensor=2"}) {
    SCOPED_TRACE(shape);
    const std::string of_mesh = (folder / concat("mesh", number++, ".safetensors")).string();
    on_mesh(shape, [&](parallel::Mesh& mesh) {
      PartedRun first(mesh, GetParam());
      first.steps(0, 1);
      first.expect_parts_of(early, 1e-6);  // before anything has added up
      PartedRun own(mesh, GetParam());
      std::vector<double> found = own.steps(0, 3);
      own.save(of_mesh, 3);
      for (const double norm : own.steps(3, 6)) found.push_back(norm);
      for (size_t i = 0; i < norms.size(); ++i) EXPECT_NEAR(found[i], norms[i], 1e-5 * norms[i]);
      own.expect_parts_of(one, tolerance);
      PartedRun later(mesh, GetParam());
      later.load(of_one, 3);
      later.steps(3, 6);
      later.expect_parts_of(one, tolerance);
    });
    PartedRun later(alone, GetParam());
    later.load(of_mesh, 3);
    later.steps(3, 6);
    later.expect_parts_of(one, tolerance);
  }
}

TEST_P(CutAdafactor, TwoSumsAStepTravelHoweverManyTensors) {
  on_mesh("expert=2,tensor=2", [](parallel::Mesh& mesh) {
    PartedRun run(mesh, GetParam());
    for (const char* const axis : {"tensor", "expert"}) mesh.along(axis).forget_traffic();
    run.steps(0, 3);
    for (const char* const axis : {"tensor", "expert"})
      EXPECT_EQ(mesh.along(axis).traffic().by_collective.at("all_reduce").calls, 2 * 3) << axis;
    // Columns of qkv, rows of down, the row of the vector; two numbers each. Twice half of them leave a rank of two.
    EXPECT_EQ(mesh.along("tensor").traffic().bytes(), 3 * 8 * ((128 + 8 + 1) + 3 * 2));
    EXPECT_EQ(mesh.along("expert").traffic().bytes(), 3 * 8 * (96 + 2));
  });
}

TEST_P(CutAdafactor, WhatAllRanksHoldIsWrittenOnce) {
  const tests::TemporaryFolder folder;
  const std::string path = (folder / "checkpoint.safetensors").string();
  on_mesh("tensor=2", [&](parallel::Mesh& mesh) {
    PartedRun run(mesh, GetParam());
    run.steps(0, 1);
    run.save(path, 1);
  });
  std::map<std::string, int64_t> values, files;
  for (const ModelFile& file : read_checkpoint(path).files)
    for (const auto& [name, tensor] : file.tensors) {
      values[name] += tensor.numel();
      ++files[name];
    }
  EXPECT_EQ(files["rows/qkv"], 2);
  EXPECT_EQ(files["columns/qkv"], 1);
  EXPECT_EQ(files["rows/down"], 1);
  EXPECT_EQ(files["columns/down"], 2);
  EXPECT_EQ(files["rows/both"], 1);
  EXPECT_EQ(values["rows/qkv"], 12);
  EXPECT_EQ(values["columns/qkv"], 128);
  EXPECT_EQ(values["rows/down"], 8);
  EXPECT_EQ(values["columns/down"], 512);
  EXPECT_EQ(values["columns/norm"], 13);
}

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

PlaceOfTensor placed(std::vector<int64_t> shape, int64_t dim, Ranges ranges) {
  PlaceOfTensor place;
  place.shape = std::move(shape);
  place.part.dim = dim;
  place.part.ranges = std::move(ranges);
  place.axis = "tensor";
  return place;
}

TEST(FactorPlaces, AreThoseOfTheMatrix) {
  PlaceOfTensor place = placed({12, 256}, 0, {{2, 2}, {6, 2}, {10, 2}});
  FactorPlaces found = factor_places("qkv", place, 1, true);
  EXPECT_EQ(found.whole.rows, 12);
  EXPECT_EQ(found.whole.columns, 256);
  EXPECT_TRUE(found.by_rows);
  EXPECT_EQ(found.rows.part.ranges, place.part.ranges);
  EXPECT_TRUE(found.rows.counts);
  EXPECT_TRUE(found.columns.part.ranges.empty());
  EXPECT_FALSE(found.columns.counts);  // rank 0 has the same
  EXPECT_EQ(found.scales.shape, (std::vector<int64_t>{12, 2}));
  EXPECT_EQ(found.scales.part.ranges, place.part.ranges);

  place = placed({3, 512}, 1, {{256, 256}});
  found = factor_places("down", place, 1, true);
  EXPECT_FALSE(found.by_rows);
  EXPECT_FALSE(found.rows.counts);
  EXPECT_EQ(found.columns.part.ranges, place.part.ranges);
  EXPECT_EQ(found.scales.shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(found.scales.part.dim, 1);
  EXPECT_EQ(found.scales.part.ranges, (Ranges{{2, 2}}));

  // Four rows of 96 are three blocks of 128; the last of nine rows ends one early.
  place = placed({9, 96}, 0, {{4, 5}});
  found = factor_places("experts", place, 1, true);
  EXPECT_EQ(found.scales.shape, (std::vector<int64_t>{7}));
  EXPECT_EQ(found.scales.part.ranges, (Ranges{{3, 4}}));
}

TEST(FactorPlaces, ACutThatPartsWeightsOfOneScaleIsRefused) {
  const std::vector<PlaceOfTensor> places{
      placed({3, 256}, 1, {{64, 64}}), placed({4, 100}, 1, {{0, 50}}), placed({9, 96}, 0, {{3, 3}}),
      placed({300}, 0, {{0, 150}})};
  for (const PlaceOfTensor& place : places) {
    EXPECT_NO_THROW(factor_places("w", place, 0, false));
    expect_error(ErrorKind::kUnsupported,
                 "axis tensor: adafactor_int8: the cut of w parts weights that share a scale (128 "
                 "behind each other); set optimizer to adafactor",
                 [&] { factor_places("w", place, 0, true); });
  }
}

}  // namespace
}  // namespace lexel::train
