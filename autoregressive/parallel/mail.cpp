#include "autoregressive/parallel/mail.h"

#include <utility>

#include "kernels/check.h"

namespace lexel::parallel {

int64_t Mail::tag(Cargo cargo, int64_t micro_batch, int64_t chunk) const {
  return (static_cast<int64_t>(cargo) * micro_batches_ + micro_batch) * chunks_ + chunk;
}

void Mail::receive(Cargo cargo, int64_t micro_batch, int64_t chunk, int64_t from, at::Tensor room) {
  Incoming& message = incoming_[Key(cargo, micro_batch, chunk, from)];
  message.content = std::move(room);
  message.pending = group_.receive(message.content, from, tag(cargo, micro_batch, chunk));
}

at::Tensor Mail::take(Cargo cargo, int64_t micro_batch, int64_t chunk, int64_t from) {
  auto node = incoming_.extract(Key(cargo, micro_batch, chunk, from));
  check(!node.empty(), ErrorKind::kInternal, "a pipeline's message that nobody asked for");
  node.mapped().pending.wait();
  return std::move(node.mapped().content);
}

void Mail::send(Cargo cargo, int64_t micro_batch, int64_t chunk, int64_t to, const at::Tensor& x,
                int64_t read_at) {
  const at::Tensor content = x.detach().contiguous();
  if (to == group_.rank()) {
    incoming_[Key(cargo, micro_batch, chunk, to)].content = content;
  } else {
    outgoing_.push_back({read_at, group_.send(content, to, tag(cargo, micro_batch, chunk))});
  }
}

void Mail::finish_sends(int64_t clock) {
  std::erase_if(outgoing_, [&](Outgoing& message) {
    if (message.read_at >= clock) return false;
    message.pending.wait();
    return true;
  });
}

}  // namespace lexel::parallel
