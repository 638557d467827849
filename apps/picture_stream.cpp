#include "apps/picture_stream.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "tokenizers/io/picture_source.h"

namespace lexel::cli {

struct PictureStream::State {
  State(const std::vector<std::string>& inputs, const Preprocess& p)
      : source(inputs), preprocess(p) {}

  PictureSource source;  // guarded by mutex: reading is cheap beside decoding
  Preprocess preprocess;
  int64_t size_hint = -1;
  int64_t window = 0;

  std::mutex mutex;
  std::condition_variable room, ready;
  std::map<int64_t, StreamedPicture> done;  // by position in the stream
  int64_t taken = 0;                        // pictures that a worker has begun
  int64_t handed_out = 0;
  bool ended = false;  // the source has no more
  bool stopping = false;
  std::vector<std::thread> workers;

  /// Reads the next picture's bytes; false when the worker should go home.
  bool take(int64_t& position, PictureBytes& bytes, StreamedPicture& picture) {
    std::unique_lock lock(mutex);
    room.wait(lock, [&] { return stopping || ended || taken < handed_out + window; });
    if (stopping || ended) return false;
    try {
      if (!source.next(bytes)) {
        ended = true;
        room.notify_all();
        ready.notify_all();
        return false;
      }
      picture.name = bytes.name;
    } catch (const Error& error) {
      picture.problem = error.what();
      picture.problem_kind = error.kind();
    }
    position = taken++;
    return true;
  }

  void work() {
    for (;;) {
      int64_t position = 0;
      PictureBytes bytes;
      StreamedPicture picture;
      if (!take(position, bytes, picture)) return;
      if (picture.problem.empty()) {
        try {
          picture.label = picture_label(bytes.json);
          picture.prepared =
              prepare(decode_image(bytes.data.data(), bytes.data.size(), bytes.name), preprocess);
        } catch (const Error& error) {
          picture.problem = error.what();
          picture.problem_kind = error.kind();
        } catch (const std::exception& error) {  // a thread border: nothing may escape
          picture.problem = concat(bytes.name, ": ", error.what());
          picture.problem_kind = ErrorKind::kInternal;
        }
      }
      const std::lock_guard lock(mutex);
      done.emplace(position, std::move(picture));
      ready.notify_all();
    }
  }
};

PictureStream::PictureStream(const std::vector<std::string>& inputs, const Preprocess& preprocess,
                             int64_t threads)
    : state_(std::make_unique<State>(inputs, preprocess)) {
  if (threads == 0) threads = std::max<int64_t>(1, std::thread::hardware_concurrency());
  state_->size_hint = state_->source.size_hint();
  state_->window = 3 * threads;
  for (int64_t i = 0; i < threads; ++i) {
    state_->workers.emplace_back([state = state_.get()] { state->work(); });
  }
}

PictureStream::~PictureStream() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->room.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

bool PictureStream::next(StreamedPicture& out) {
  std::unique_lock lock(state_->mutex);
  State& s = *state_;
  s.ready.wait(lock, [&] {
    return s.done.count(s.handed_out) != 0 || (s.ended && s.handed_out == s.taken);
  });
  const auto found = s.done.find(s.handed_out);
  if (found == s.done.end()) return false;
  out = std::move(found->second);
  s.done.erase(found);
  ++s.handed_out;
  s.room.notify_all();
  return true;
}

int64_t PictureStream::size_hint() const { return state_->size_hint; }

}  // namespace lexel::cli
