// SPDX-License-Identifier: GPL-3.0-or-later
// Samples in and out, when and how strong; and what goes wrong on the way.
#include "device.hpp"

#include <cmath>

namespace
{
constexpr int64_t TAIL = 512; // virtual time that passes after a burst, so that receivers can finish
constexpr long PATIENCE_US = 400000;
constexpr size_t MAX_EVENTS = 4096;

using Lock = std::unique_lock<std::mutex>;
using Until = std::chrono::steady_clock::time_point;

Until after_us(long us) { return std::chrono::steady_clock::now() + std::chrono::microseconds(us); }
double linear(double db) { return std::pow(10.0, db / 20); }

bool every(double n, int64_t count) { return n > 0 && count % int64_t(n) == 0; }

void tell(Stream& stream, Event event)
{
    stream.events.push_back(event);
    if (stream.events.size() > MAX_EVENTS) stream.events.pop_front(); // nobody asks for them
}
} // namespace

// Where the burst's first sample goes, or that it comes too late.
void Loopback::begin_burst(Stream& stream, bool timed, int64_t at)
{
    stream.bursts++;
    stream.in_burst = true;
    stream.dry = stream.broken = false;
    const int64_t earliest = std::max(stream.cursor, _air->now());
    stream.dropping = (timed && at < earliest) || every(_set.late_every, stream.bursts);
    if (stream.dropping) {
        tell(stream, {SOAPY_SDR_TIME_ERROR, 0, timed ? at : earliest});
        return;
    }
    stream.start = stream.cursor = timed ? at : earliest;
    stream.broken = every(_set.underrun_every, stream.bursts);
}

// In a burst and nothing left to send: an underrun, told once until the next samples come.
void Loopback::run_dry(Stream& stream)
{
    if (!_air->real() || !stream.in_burst || stream.dropping || stream.dry || stream.cursor >= _air->now()) return;
    stream.dry = true;
    tell(stream, {SOAPY_SDR_UNDERFLOW, 0, stream.cursor});
}

void Loopback::end_burst(Stream& stream)
{
    stream.in_burst = false;
    if (!stream.dropping) {
        tell(stream, {0, SOAPY_SDR_END_BURST, stream.cursor});
        if (!_air->real()) _air->advance(stream.cursor + TAIL);
    }
}

void Loopback::radiate(Stream& stream, const void* const* buffers, int64_t n)
{
    // An injected underrun: only the first half of what came first is sent, the rest of the burst is silence.
    const int64_t sent = stream.broken ? n / 2 : n;
    const bool silent = stream.broken && stream.dry;
    if (stream.broken && !stream.dry) {
        stream.dry = true;
        tell(stream, {SOAPY_SDR_UNDERFLOW, 0, stream.cursor + sent});
    }
    for (size_t c = 0; c < stream.channels.size() && !silent; c++) {
        const Port& here = port(SOAPY_SDR_TX, stream.channels[c]);
        const auto* samples = static_cast<const Sample*>(buffers[c]);
        const auto gain = float(linear(here.gain_db));
        const auto ceiling = float(linear(_set.saturation_dbfs));
        Run run{stream.cursor, here.freq_hz, stream.transmitters[c], {}};
        run.samples.reserve(size_t(sent));
        for (int64_t i = 0; i < sent; i++) {
            const Sample dac(std::clamp(samples[i].real(), -1.f, 1.f), std::clamp(samples[i].imag(), -1.f, 1.f));
            const Sample amplified = gain * dac;
            const float size = std::abs(amplified);
            run.samples.push_back(size > ceiling ? amplified * (ceiling / size) : amplified);
        }
        _air->send(std::move(run));
    }
    stream.cursor += n;
    if (!_air->real()) _air->advance(stream.cursor);
    _air->changed.notify_all();
}

// Samples that the buffer takes: of a burst that waits for its time the whole buffer, whenever that is.
int64_t Loopback::room(const Stream& stream) const
{
    if (!_air->real()) return TX_BUFFER;
    const int64_t sent = stream.in_burst ? std::max(_air->now(), stream.start) : _air->now();
    return TX_BUFFER - std::max<int64_t>(0, stream.cursor - sent);
}

int Loopback::writeStream(SoapySDR::Stream* handle, const void* const* buffers, const size_t n, int& flags,
                          const long long ns, const long timeout_us)
{
    auto& stream = *reinterpret_cast<Stream*>(handle);
    const bool timed = flags & SOAPY_SDR_HAS_TIME;
    const bool last = flags & SOAPY_SDR_END_BURST;
    const Until deadline = after_us(timeout_us);
    Lock lock(_air->mutex);
    while (!_air->may_send() || room(stream) <= 0) {
        if (std::chrono::steady_clock::now() >= deadline) return SOAPY_SDR_TIMEOUT;
        _air->changed.wait_for(lock, std::chrono::milliseconds(1));
    }
    const bool goes_on = stream.in_burst;
    if (!goes_on) begin_burst(stream, timed, timed ? tick_of(ns) : 0);
    auto taken = int64_t(n);
    if (!stream.dropping) {
        if (_air->real() && goes_on) {
            run_dry(stream);
            if (!stream.broken) stream.dry = false;
            stream.cursor = std::max(stream.cursor, _air->now());
        }
        taken = std::min(taken, room(stream));
        radiate(stream, buffers, taken);
    }
    if (last && taken == int64_t(n)) end_burst(stream);
    return int(taken);
}

int Loopback::readStreamStatus(SoapySDR::Stream* handle, size_t& channels, int& flags, long long& ns,
                               const long timeout_us)
{
    auto& stream = *reinterpret_cast<Stream*>(handle);
    if (stream.direction != SOAPY_SDR_TX) return SOAPY_SDR_NOT_SUPPORTED;
    const Until deadline = after_us(timeout_us);
    Lock lock(_air->mutex);
    // Of a burst's end a radio tells when its last sample is out, not when it has taken it.
    const auto due = [&] {
        if (stream.events.empty()) return false;
        return !_air->real() || stream.events.front().code != 0 || stream.events.front().tick <= _air->now();
    };
    while (run_dry(stream), !due()) {
        if (std::chrono::steady_clock::now() >= deadline) return SOAPY_SDR_TIMEOUT;
        _air->changed.wait_for(lock, std::chrono::milliseconds(stream.events.empty() ? 5 : 1));
    }
    const Event event = stream.events.front();
    stream.events.pop_front();
    channels = 1;
    flags = event.flags | SOAPY_SDR_HAS_TIME;
    ns = ns_of(event.tick);
    return event.code;
}

const Fading& Loopback::fading(int transmitter, size_t channel)
{
    const auto key = std::make_pair(transmitter, channel);
    auto found = _fading.find(key);
    if (found == _fading.end()) {
        const uint64_t seed = mix(_id, (uint64_t(transmitter) << 8) + channel);
        found = _fading.emplace(key, Fading(_set.doppler, int(_set.paths), _air->rate(), seed)).first;
    }
    return found->second;
}

// What this receiver hears of one run of samples, in ticks first..first + n.
void Loopback::add(const Run& run, const Port& here, size_t channel, int64_t first, int64_t n, Sample* out)
{
    const double offset_hz = run.freq_hz - here.freq_hz + (_clock == "internal" ? _set.cfo : 0);
    if (std::abs(run.freq_hz - here.freq_hz) > _air->rate() / 2) return; // another channel
    const double cycles = offset_hz / _air->rate();
    const double scale = linear(here.gain_db - _set.path_loss_db);
    const Fading& paths = fading(run.transmitter, channel);
    for (int path = 0; path < paths.paths(); path++) {
        const int64_t shift = run.start + int64_t(_set.delay) + path; // its first sample arrives here
        const int64_t begin = std::max(first, shift);
        const int64_t end = std::min(first + n, shift + int64_t(run.samples.size()));
        if (paths.none() && offset_hz == 0) {
            for (int64_t tick = begin; tick < end; tick++)
                out[tick - first] += float(scale) * run.samples[size_t(tick - shift)];
            continue;
        }
        for (int64_t block = begin / BLOCK; block * BLOCK < end; block++) {
            const auto gain_of = [&](int64_t tick) { return scale * paths.gain(path, tick); };
            const std::complex<double> here_gain = gain_of(block * BLOCK);
            const std::complex<double> slope = (gain_of((block + 1) * BLOCK) - here_gain) / double(BLOCK);
            const int64_t from = std::max(begin, block * BLOCK), to = std::min(end, (block + 1) * BLOCK);
            const double turns = cycles * double(from);
            std::complex<double> phasor = std::polar(1.0, 2 * M_PI * (turns - std::floor(turns)));
            const std::complex<double> step = std::polar(1.0, 2 * M_PI * cycles);
            for (int64_t tick = from; tick < to; tick++, phasor *= step) {
                const auto gain = Sample((here_gain + slope * double(tick - block * BLOCK)) * phasor);
                out[tick - first] += gain * run.samples[size_t(tick - shift)];
            }
        }
    }
}

// The converter: it clips, and has so many bits.
void Loopback::digitise(Sample* out, int64_t n) const
{
    const auto steps = float(std::exp2(_set.adc_bits - 1));
    const auto convert = [&](float x) {
        x = std::clamp(x, -1.f, 1.f);
        return _set.adc_bits > 0 ? std::nearbyint(x * steps) / steps : x;
    };
    for (int64_t i = 0; i < n; i++) out[i] = Sample(convert(out[i].real()), convert(out[i].imag()));
}

int Loopback::readStream(SoapySDR::Stream* handle, void* const* buffers, const size_t n, int& flags,
                         long long& ns, const long timeout_us)
{
    auto& stream = *reinterpret_cast<Stream*>(handle);
    Listener& listener = *stream.listener;
    // In virtual time a pause is no event, but GNU Radio's source sleeps for 0.25 s after a time-out.
    const long patience_us = _air->real() || timeout_us == 0 ? timeout_us : std::max(timeout_us, PATIENCE_US);
    const Until deadline = after_us(patience_us);
    Lock lock(_air->mutex);
    const auto wanted = int64_t(std::min(n, MTU));
    int64_t ready;
    while ((ready = _air->now() - listener.next) < (_air->real() ? wanted : 1)) {
        if (!listener.active || std::chrono::steady_clock::now() >= deadline) break;
        if (_air->real())
            _air->changed.wait_for(lock, std::chrono::microseconds(500));
        else
            _air->changed.wait_until(lock, deadline);
    }
    // UHD empties a stopped stream until it times out: without this, stop() would never return.
    if (!listener.active || ready <= 0) return SOAPY_SDR_TIMEOUT;

    const bool injected = _set.overrun_every > 0 && listener.next >= stream.overrun_at;
    if (injected || (_air->real() && ready > RX_BUFFER)) {
        stream.overrun_at += injected ? int64_t(_set.overrun_every) : 0;
        listener.next = injected ? listener.next + OVERRUN : _air->now();
        ns = ns_of(listener.next);
        flags = SOAPY_SDR_HAS_TIME;
        _air->changed.notify_all();
        return SOAPY_SDR_OVERFLOW;
    }
    const int64_t first = listener.next;
    int64_t count = std::min(ready, wanted);
    if (_set.overrun_every > 0) count = std::min(count, stream.overrun_at - first);
    const int64_t reach = int64_t(_set.delay + _set.paths); // of the channel's memory
    const std::vector<RunPtr> heard = _air->heard(first - reach, first + count);
    for (size_t c = 0; c < stream.channels.size(); c++) {
        auto* out = static_cast<Sample*>(buffers[c]);
        std::fill_n(out, count, Sample(0));
        const Port& here = port(SOAPY_SDR_RX, stream.channels[c]);
        for (const RunPtr& run : heard) add(*run, here, stream.channels[c], first, count, out);
        if (_set.noise_dbfs > OFF_DB)
            add_noise(out, first, count, linear(_set.noise_dbfs + here.gain_db), mix(_id, stream.channels[c]));
        digitise(out, count);
    }
    listener.next += count;
    ns = ns_of(first);
    flags = SOAPY_SDR_HAS_TIME;
    _air->changed.notify_all(); // a transmitter may wait for this receiver
    return int(count);
}
