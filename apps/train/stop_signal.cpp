#include "apps/train/stop_signal.h"

namespace lexel::train {
namespace {

volatile std::sig_atomic_t g_stop = 0;  // the only thing that a signal handler may write

}  // namespace

StopOnSignal::StopOnSignal() {
  g_stop = 0;
  struct sigaction action = {};
  action.sa_handler = [](int) { g_stop = 1; };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, &interrupt_);
  sigaction(SIGTERM, &action, &terminate_);
}

StopOnSignal::~StopOnSignal() {
  sigaction(SIGINT, &interrupt_, nullptr);
  sigaction(SIGTERM, &terminate_, nullptr);
}

bool StopOnSignal::asked() const { return g_stop != 0; }

const volatile std::sig_atomic_t& StopOnSignal::flag() const { return g_stop; }

}  // namespace lexel::train
