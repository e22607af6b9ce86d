// SPDX-License-Identifier: GPL-3.0-or-later
#include "air.hpp"

#include <SoapySDR/Time.hpp>

#include <map>
#include <stdexcept>

std::shared_ptr<Air> Air::get(const std::string& name, Pacing pacing)
{
    static std::mutex guard;
    static std::map<std::string, std::weak_ptr<Air>> airs;
    std::lock_guard<std::mutex> lock(guard);
    std::shared_ptr<Air> air = airs[name].lock();
    if (!air) airs[name] = air = std::make_shared<Air>(pacing);
    if (air->_pacing != pacing)
        throw std::runtime_error("lighttune_loopback: give all devices on one air the same pacing");
    return air;
}

void Air::set_rate(double rate)
{
    if (rate == _rate) return;
    for (const auto& listener : listeners)
        if (const auto l = listener.lock(); l && l->active)
            throw std::runtime_error("lighttune_loopback: the sample rate cannot change while a receiver runs");
    const long long ns = now_ns();
    _rate = rate;
    _virtual_now = SoapySDR::timeNsToTicks(ns, rate);
    _runs.clear(); // their ticks were other times
}

int64_t Air::now() const
{
    return real() ? SoapySDR::timeNsToTicks(now_ns(), _rate) : _virtual_now;
}

long long Air::now_ns() const
{
    if (real())
        return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - _start).count();
    return SoapySDR::ticksToTimeNs(_virtual_now, _rate);
}

void Air::advance(int64_t tick)
{
    if (tick > _virtual_now) _virtual_now = tick;
    changed.notify_all();
}

bool Air::may_send() const
{
    if (real()) return true;
    for (const auto& listener : listeners)
        if (const auto l = listener.lock(); l && l->active && l->next < _virtual_now - TX_BUFFER) return false;
    return listened;
}

void Air::send(Run run)
{
    int64_t oldest = now() - RX_BUFFER;
    if (!real()) {
        oldest = _virtual_now;
        for (const auto& listener : listeners)
            if (const auto l = listener.lock(); l && l->active) oldest = std::min(oldest, l->next);
    }
    constexpr int64_t LATEST = 1 << 16; // longest delay of a channel, so that its echoes are kept
    while (!_runs.empty() && _runs.front()->end() < oldest - LATEST) _runs.pop_front();
    _runs.push_back(std::make_shared<const Run>(std::move(run)));
}

std::vector<RunPtr> Air::heard(int64_t first, int64_t end) const
{
    std::vector<RunPtr> heard;
    for (const RunPtr& run : _runs)
        if (run->start < end && run->end() > first) heard.push_back(run);
    return heard;
}
