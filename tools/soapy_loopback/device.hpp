// SPDX-License-Identifier: GPL-3.0-or-later
// A SoapySDR device that stands in for a radio: what its transmitters send, its receivers and those of the other
// devices on the same air hear. docs/usrp.md has the list of the device arguments.
#pragma once

#include "air.hpp"

#include <SoapySDR/Device.hpp>
#include <SoapySDR/Formats.hpp>
#include <SoapySDR/Time.hpp>

#include <algorithm>
#include <map>
#include <stdexcept>

inline const std::string DRIVER = "lighttune_loopback";
constexpr int64_t OVERRUN = 2000; // samples that an injected overrun costs
constexpr double OFF_DB = -1000;

// The arguments, all of them optional; the wrong ones are refused by name.
struct Settings {
    std::string serial = "0", air = "0", pacing = "real";
    double path_loss_db = 0, noise_dbfs = OFF_DB, cfo = 0, doppler = 0, saturation_dbfs = -OFF_DB;
    double seed = 1, channels = 2, delay = 0, paths = 1, adc_bits = 0;
    double underrun_every = 0, late_every = 0, overrun_every = 0;

    explicit Settings(const SoapySDR::Kwargs& args);
};

// One antenna port, transmitting or receiving.
struct Port {
    double freq_hz = 0, gain_db = 0, bandwidth_hz = 0;
    std::string antenna;
};

struct Event {
    int code, flags;
    int64_t tick;
};

struct Stream {
    int direction;
    std::vector<size_t> channels;
    // Transmitting
    std::vector<int> transmitters; // by channel: its number on the air
    bool in_burst = false, dropping = false, broken = false, dry = false;
    int64_t start = 0, cursor = 0; // ticks of the burst's first and of the next sample
    int64_t bursts = 0;
    std::deque<Event> events;
    // Receiving
    std::shared_ptr<Listener> listener = std::make_shared<Listener>();
    int64_t overrun_at = 0;
};

constexpr size_t MTU = 1024;
constexpr double MAX_TX_GAIN_DB = 90, MAX_RX_GAIN_DB = 76; // as a USRP B210, nearly
constexpr double MIN_RATE = 1e4, MAX_RATE = 50e6;

class Loopback : public SoapySDR::Device
{
    using Lock = std::unique_lock<std::mutex>;

public:
    explicit Loopback(const SoapySDR::Kwargs& args)
        : _set(args), _air(Air::get(_set.air, _set.pacing == "real" ? Air::Pacing::REAL : Air::Pacing::VIRTUAL)),
          _id(mix(uint64_t(_set.seed), std::hash<std::string>()(_set.serial)))
    {
        for (const int direction : {SOAPY_SDR_TX, SOAPY_SDR_RX})
            _ports[direction].assign(size_t(_set.channels), Port{0, 0, 0, listAntennas(direction, 0).front()});
    }

    std::string getDriverKey() const override { return DRIVER; }
    std::string getHardwareKey() const override { return DRIVER; }
    SoapySDR::Kwargs getHardwareInfo() const override { return {{"serial", _set.serial}}; }
    size_t getNumChannels(const int) const override { return size_t(_set.channels); }
    bool getFullDuplex(const int, const size_t) const override { return true; }

    // ---- settings of a channel
    std::vector<std::string> listAntennas(const int direction, const size_t) const override
    {
        if (direction == SOAPY_SDR_TX) return {"TX/RX"};
        return {"RX2", "TX/RX"};
    }
    void setAntenna(const int direction, const size_t channel, const std::string& name) override
    {
        const auto names = listAntennas(direction, channel);
        if (std::find(names.begin(), names.end(), name) == names.end())
            throw std::runtime_error(DRIVER + ": no antenna '" + name + "'");
        port(direction, channel).antenna = name;
    }
    std::string getAntenna(const int direction, const size_t channel) const override
    {
        return port(direction, channel).antenna;
    }
    std::vector<std::string> listGains(const int, const size_t) const override { return {"RF"}; }
    void setGain(const int direction, const size_t channel, const std::string&, const double db) override
    {
        const SoapySDR::Range range = getGainRange(direction, channel, "RF");
        Lock lock(_air->mutex);
        port(direction, channel).gain_db = std::clamp(db, range.minimum(), range.maximum());
    }
    double getGain(const int direction, const size_t channel, const std::string&) const override
    {
        return port(direction, channel).gain_db;
    }
    SoapySDR::Range getGainRange(const int direction, const size_t, const std::string&) const override
    {
        return SoapySDR::Range(0, direction == SOAPY_SDR_TX ? MAX_TX_GAIN_DB : MAX_RX_GAIN_DB, 0.5);
    }
    std::vector<std::string> listFrequencies(const int, const size_t) const override { return {"RF"}; }
    void setFrequency(const int direction, const size_t channel, const std::string&, const double hz,
                      const SoapySDR::Kwargs&) override
    {
        Lock lock(_air->mutex);
        port(direction, channel).freq_hz = hz;
    }
    double getFrequency(const int direction, const size_t channel, const std::string&) const override
    {
        return port(direction, channel).freq_hz;
    }
    SoapySDR::RangeList getFrequencyRange(const int, const size_t, const std::string&) const override
    {
        return {SoapySDR::Range(0, 6e9)};
    }
    void setSampleRate(const int, const size_t, const double rate) override
    {
        Lock lock(_air->mutex);
        _air->set_rate(std::clamp(rate, MIN_RATE, MAX_RATE));
        _fading.clear();
    }
    double getSampleRate(const int, const size_t) const override { return _air->rate(); }
    SoapySDR::RangeList getSampleRateRange(const int, const size_t) const override
    {
        return {SoapySDR::Range(MIN_RATE, MAX_RATE)};
    }
    void setBandwidth(const int direction, const size_t channel, const double hz) override
    {
        port(direction, channel).bandwidth_hz = hz;
    }
    double getBandwidth(const int direction, const size_t channel) const override
    {
        return port(direction, channel).bandwidth_hz;
    }
    SoapySDR::RangeList getBandwidthRange(const int, const size_t) const override
    {
        return {SoapySDR::Range(0, 100e6)};
    }

    // ---- time
    bool hasHardwareTime(const std::string&) const override { return true; }
    long long getHardwareTime(const std::string&) const override
    {
        Lock lock(_air->mutex);
        return _air->now_ns() + _offset_ns;
    }
    void setHardwareTime(const long long ns, const std::string& what) override
    {
        if (what == "CMD") return; // timed commands are carried out at once
        Lock lock(_air->mutex);
        _offset_ns = ns - _air->now_ns();
    }

    // ---- clock: on the external reference, all devices have the same frequency
    std::vector<std::string> listClockSources() const override { return {"internal", "external"}; }
    void setClockSource(const std::string& source) override
    {
        const auto names = listClockSources();
        if (std::find(names.begin(), names.end(), source) == names.end())
            throw std::runtime_error(DRIVER + ": no clock source '" + source + "'");
        _clock = source;
    }
    std::string getClockSource() const override { return _clock; }

    // ---- streams
    std::vector<std::string> getStreamFormats(const int, const size_t) const override { return {SOAPY_SDR_CF32}; }
    std::string getNativeStreamFormat(const int, const size_t, double& full_scale) const override
    {
        full_scale = 1;
        return SOAPY_SDR_CF32;
    }
    SoapySDR::Stream* setupStream(const int direction, const std::string& format,
                                  const std::vector<size_t>& channels, const SoapySDR::Kwargs&) override
    {
        if (format != SOAPY_SDR_CF32) throw std::runtime_error(DRIVER + ": give samples as CF32, not " + format);
        auto* stream = new Stream;
        stream->direction = direction;
        stream->channels = channels.empty() ? std::vector<size_t>{0} : channels;
        Lock lock(_air->mutex);
        for (const size_t channel : stream->channels) {
            port(direction, channel); // is there such a channel?
            if (direction == SOAPY_SDR_TX) stream->transmitters.push_back(_air->new_transmitter());
        }
        if (direction == SOAPY_SDR_RX) _air->listeners.push_back(stream->listener);
        return reinterpret_cast<SoapySDR::Stream*>(stream);
    }
    void closeStream(SoapySDR::Stream* handle) override { delete reinterpret_cast<Stream*>(handle); }
    size_t getStreamMTU(SoapySDR::Stream*) const override { return MTU; }

    int activateStream(SoapySDR::Stream* handle, const int flags, const long long ns, const size_t) override
    {
        auto& stream = *reinterpret_cast<Stream*>(handle);
        if (stream.direction == SOAPY_SDR_TX) return 0;
        Lock lock(_air->mutex);
        Listener& listener = *stream.listener;
        listener.active = _air->listened = true;
        listener.next = _air->now();
        // In virtual time nobody would make that moment come.
        if (_air->real() && (flags & SOAPY_SDR_HAS_TIME)) listener.next = std::max(listener.next, tick_of(ns));
        stream.overrun_at = listener.next + int64_t(_set.overrun_every);
        _air->changed.notify_all();
        return 0;
    }
    // A transmitter is deactivated after each burst: what it has sent stays on the air.
    int deactivateStream(SoapySDR::Stream* handle, const int, const long long) override
    {
        auto& stream = *reinterpret_cast<Stream*>(handle);
        Lock lock(_air->mutex);
        stream.listener->active = false;
        stream.in_burst = false;
        _air->changed.notify_all();
        return 0;
    }
    int writeStream(SoapySDR::Stream* handle, const void* const* buffers, const size_t n, int& flags,
                    const long long ns, const long timeout_us) override;
    int readStreamStatus(SoapySDR::Stream* handle, size_t& channels, int& flags, long long& ns,
                         const long timeout_us) override;
    int readStream(SoapySDR::Stream* handle, void* const* buffers, const size_t n, int& flags, long long& ns,
                   const long timeout_us) override;

private:
    Port& port(int direction, size_t channel) { return _ports.at(direction).at(channel); }
    const Port& port(int direction, size_t channel) const { return _ports.at(direction).at(channel); }
    int64_t tick_of(long long ns) const { return SoapySDR::timeNsToTicks(ns - _offset_ns, _air->rate()); }
    long long ns_of(int64_t tick) const { return SoapySDR::ticksToTimeNs(tick, _air->rate()) + _offset_ns; }

    void begin_burst(Stream& stream, bool timed, int64_t at);
    void run_dry(Stream& stream);
    void end_burst(Stream& stream);
    int64_t room(const Stream& stream) const;
    void radiate(Stream& stream, const void* const* buffers, int64_t n);
    const Fading& fading(int transmitter, size_t channel);
    void add(const Run& run, const Port& here, size_t channel, int64_t first, int64_t n, Sample* out);
    void digitise(Sample* out, int64_t n) const;

    const Settings _set;
    const std::shared_ptr<Air> _air;
    const uint64_t _id;
    std::map<int, std::vector<Port>> _ports;
    std::map<std::pair<int, size_t>, Fading> _fading; // by transmitter and receiving channel
    std::string _clock = "internal";
    long long _offset_ns = 0;
};
