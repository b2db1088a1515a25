#include "daemon/answer_review.h"

namespace portpool {
namespace {

constexpr std::size_t kRoutesPerLook = 32;
constexpr std::size_t kWithdrawnAtOnce = 64;

}  // namespace

void AnswerReview::rules_changed() {
  withdraw_from_ = 0;
  range_changed();
}

void AnswerReview::range_changed() {
  sources_changed(work_.settings.note_pools_without_ports());
  refit_from_ = 0;
}

void AnswerReview::sources_changed(const std::vector<std::uint32_t>& pools) {
  if (pools.empty()) return;
  pools_.insert(pools.begin(), pools.end());
  answers_left_ = work_.lanes.answers();
}

void AnswerReview::look_at_routes() { routes_left_ = kRoutesPerLook; }

bool AnswerReview::run(const Slice& slice) {
  while (!slice.over()) {
    if (!step()) return false;
  }
  return true;
}

bool AnswerReview::step() {
  if (withdraw_from_) {
    withdraw_some();
  } else if (answers_left_ > 0 || routes_left_ > 0) {
    review_next();
  } else if (refit_from_) {
    refit_next();
  } else {
    return false;
  }
  return true;
}

void AnswerReview::withdraw_some() {
  const std::uint32_t next = work_.lanes.withdraw_some(*withdraw_from_, kWithdrawnAtOnce);
  if (next != 0) {
    withdraw_from_ = next;
  } else {
    withdraw_from_.reset();
  }
}

void AnswerReview::review_next() {
  const bool every = routes_left_ > 0;
  if (every) --routes_left_;
  if (answers_left_ > 0) --answers_left_;
  for (const LaneTable::Answer& answer : work_.lanes.next_answers(1)) {
    const bool concerned = every || pools_.contains(work_.settings.pool_of(answer.question));
    if (concerned && answers_.is_outdated(answer)) answers_.ask_again(answer.question);
  }
  if (answers_left_ == 0) pools_.clear();
}

void AnswerReview::refit_next() {
  if (*refit_from_ >= work_.lanes.end()) {
    refit_from_.reset();
    return refitted_();
  }
  LaneRecord* record = work_.lanes.at((*refit_from_)++);
  if (record == nullptr) return;
  const std::uint32_t pool = work_.settings.pool_of(record->key);
  const kernel::PortRange range = work_.settings.range_of(pool);
  // Out of service, and kept true all the same: no answer leads to it before it has ports again.
  if (range.empty()) {
    work_.lanes.suspend(*record);
  } else if (pool != record->pool || range != record->range || work_.lanes.is_suspended(*record)) {
    work_.lanes.set_range(*record, pool, range);
  }
}

}  // namespace portpool
