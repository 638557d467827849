#include "apps/train/checkpoint.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <thread>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;

const at::Tensor kMatrix = at::arange(24, at::kFloat).view({6, 4});
const at::Tensor kVector = at::arange(5, at::kFloat) + 100.0;

/// The state as rank `rank` of `ranks` holds it: the vector by slices; the matrix cut along dimension 0 into even and odd pairs of
/// rows as tensor parallelism cuts heads, where that divides, else by slices as well.
std::vector<StatePiece> pieces_of(int64_t rank, int64_t ranks, bool by_rows, bool fresh) {
  std::vector<StatePiece> pieces;
  const auto slice = [&](const std::string& name, const at::Tensor& whole) {
    const int64_t n = whole.numel(), begin = n * rank / ranks, end = n * (rank + 1) / ranks;
    at::Tensor part = whole.flatten().narrow(0, begin, end - begin).clone();
    pieces.push_back({name, whole.sizes().vec(), {}, begin, fresh ? at::zeros_like(part) : part});
  };
  slice("weights/vector", kVector);
  if (!by_rows) {
    slice("weights/matrix", kMatrix);
    return pieces;
  }
  // Ranges of one row of each third, as q, k and v rows of a head lie in qkv.
  const int64_t third = 2, rows = third / ranks;
  PartOfTensor part{0, {}};
  std::vector<at::Tensor> cut;
  for (int64_t t = 0; t < 3; ++t) {
    part.ranges.emplace_back(t * third + rank * rows, rows);
    cut.push_back(kMatrix.narrow(0, t * third + rank * rows, rows));
  }
  const at::Tensor own = at::cat(cut).contiguous();
  pieces.push_back({"weights/matrix", {6, 4}, part, 0, fresh ? at::zeros_like(own) : own});
  return pieces;
}

void write(const std::string& path, int64_t ranks, bool by_rows, int64_t step = 3) {
  const auto worlds = parallel::worlds_of_threads(ranks, std::chrono::seconds(20));
  std::vector<std::thread> threads;
  for (const parallel::World& world : worlds)
    threads.emplace_back([&, rank = world.rank] {
      write_checkpoint(path, "{\"seed\":1}", concat("{\"kind\":\"test\",\"step\":", step, "}"),
                       pieces_of(rank, ranks, by_rows, false), worlds[rank]);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Checkpoint, WhatOneMeshWroteEveryOtherReadsByteForByte) {
  const TemporaryFolder folder;
  const std::string path = (folder / "checkpoint.safetensors").string();
  for (const int64_t written : {1, 2, 3}) {
    for (const bool written_rows : {false, true}) {
      if (written_rows && written == 3) continue;
      write(path, written, written_rows);
      EXPECT_EQ(checkpoint_recipe(path, "test"), "{\"seed\":1}");
      const Checkpoint checkpoint = read_checkpoint(path);
      for (const int64_t read : {1, 2, 4}) {
        for (const bool read_rows : {false, true}) {
          if (read_rows && read == 4) continue;
          for (int64_t rank = 0; rank < read; ++rank) {
            const auto expected = pieces_of(rank, read, read_rows, false);
            const auto found = pieces_of(rank, read, read_rows, true);
            restore_pieces(checkpoint, path, found);
            for (size_t i = 0; i < found.size(); ++i)
              EXPECT_TRUE(found[i].tensor.equal(expected[i].tensor))
                  << found[i].name << ", written by " << written << ", rank " << rank << " of "
                  << read;
          }
        }
      }
    }
  }
}

TEST(Checkpoint, OldPartsGoWhenANewOneIsWhole) {
  const TemporaryFolder folder;
  const std::string path = (folder / "checkpoint.safetensors").string();
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(folder.path()), {});
  };
  write(path, 3, false, 3);
  EXPECT_EQ(files(), 4);
  write(path, 2, false, 4);
  EXPECT_EQ(files(), 3);
  write(path, 1, false, 5);
  EXPECT_EQ(files(), 1);
}

TEST(Checkpoint, PartsThatAreMissingOrFlippedAreNamed) {
  const TemporaryFolder folder;
  const std::string path = (folder / "checkpoint.safetensors").string();
  const std::string part = (folder / "checkpoint-3-2-of-2.safetensors").string();
  write(path, 2, false);
  {
    std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(-1, std::ios::end);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(-1, std::ios::end);
    file.put(byte);
  }
  expect_error(ErrorKind::kBadData, "part checkpoint-3-2-of-2.safetensors does not have the bytes",
               [&] { read_checkpoint(path); });
  std::filesystem::resize_file(part, 100);
  expect_error(ErrorKind::kBadData, "part checkpoint-3-2-of-2.safetensors has 100 bytes",
               [&] { read_checkpoint(path); });
  std::filesystem::remove(part);
  expect_error(ErrorKind::kBadData, "part checkpoint-3-2-of-2.safetensors is missing",
               [&] { read_checkpoint(path); });
}

TEST(Checkpoint, TensorsThatAreMissingIncompleteOrOfAnotherShapeAreNamed) {
  const TemporaryFolder folder;
  const std::string path = (folder / "checkpoint.safetensors").string();
  write(path, 2, false);
  Checkpoint checkpoint = read_checkpoint(path);
  auto pieces = pieces_of(0, 1, false, true);
  pieces[0].name = "weights/other";
  expect_error(ErrorKind::kBadData, "tensor 'weights/other' is missing",
               [&] { restore_pieces(checkpoint, path, pieces); });
  pieces = pieces_of(0, 1, false, true);
  pieces[1].shape = {4, 6};
  expect_error(ErrorKind::kBadData, "'weights/matrix': expected shape [4, 6], got [6, 4]",
               [&] { restore_pieces(checkpoint, path, pieces); });
  checkpoint.files[1].tensors.erase("weights/matrix");
  expect_error(ErrorKind::kBadData, "'weights/matrix': a part of it is missing",
               [&] { restore_pieces(checkpoint, path, pieces_of(0, 1, false, true)); });
  checkpoint.files[0].config =
      R"({"pieces":{"weights/vector":{"shape":[5],"begin":4},"weights/matrix":{"shape":[6,4],"begin":0}}})";
  expect_error(ErrorKind::kBadData, "'weights/vector': a part does not lie inside it",
               [&] { restore_pieces(checkpoint, path, pieces_of(0, 1, false, true)); });
}

}  // namespace
}  // namespace lexel::train
