// SPDX-License-Identifier: GPL-3.0-or-later
// The air between the devices of one process: a clock that all of them share, and what is on it.
#pragma once

#include "channel.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>

// Samples that were sent without a gap, as they leave the antenna.
struct Run {
    int64_t start; // tick of the first one
    double freq_hz;
    int transmitter;
    std::vector<Sample> samples;
    int64_t end() const { return start + int64_t(samples.size()); }
};
using RunPtr = std::shared_ptr<const Run>;

// Where a receiver is in the stream: the air keeps what it may still ask for, and in virtual time waits for it.
struct Listener {
    bool active = false;
    int64_t next = 0; // tick
};

class Air
{
public:
    // In real time the clock is the computer's. In virtual time it moves only while something is sent, so that no
    // host is ever too slow and a run repeats exactly.
    enum class Pacing { REAL, VIRTUAL };

    // The air of this name; the first to ask for it sets the pacing.
    static std::shared_ptr<Air> get(const std::string& name, Pacing pacing);

    explicit Air(Pacing pacing) : _pacing(pacing) {}

    std::mutex mutex; // guards all of the following, and the listeners
    std::condition_variable changed;

    bool real() const { return _pacing == Pacing::REAL; }
    double rate() const { return _rate; }
    void set_rate(double rate);
    int64_t now() const; // ticks
    long long now_ns() const;
    int new_transmitter() { return _transmitters++; }

    // Virtual time moves on to this tick.
    void advance(int64_t tick);
    // Virtual time stands still until there is a receiver, and while one lags this far behind.
    bool may_send() const;
    void send(Run run);
    // What was sent between two ticks.
    std::vector<RunPtr> heard(int64_t first, int64_t end) const;

    std::list<std::weak_ptr<Listener>> listeners;
    bool listened = false; // some receiver was active at some time

private:
    using Clock = std::chrono::steady_clock;
    Pacing _pacing;
    Clock::time_point _start = Clock::now();
    double _rate = 1e6;
    int64_t _virtual_now = 0;
    int _transmitters = 0;
    std::deque<RunPtr> _runs;
};

// Samples that a receiver may be behind before it loses some, and that are therefore kept.
constexpr int64_t RX_BUFFER = 1 << 18;
// Samples that a transmitter takes ahead of their time.
constexpr int64_t TX_BUFFER = 1 << 15;
