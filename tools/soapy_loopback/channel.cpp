// SPDX-License-Identifier: GPL-3.0-or-later
#include "channel.hpp"

#include <algorithm>
#include <cmath>

namespace
{
constexpr int WAVES = 12; // sinusoids of a path: enough for a Rayleigh-like envelope
constexpr double TURN = 2 * M_PI;

// SplitMix64: any state gives a good next value, so a seed per block costs nothing.
struct Random {
    uint64_t state;
    uint64_t next()
    {
        uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    double uniform() { return ((next() >> 11) + 0.5) / 9007199254740992.0; } // open interval (0, 1)
};
} // namespace

uint64_t mix(uint64_t a, uint64_t b)
{
    Random random{a * 0x9e3779b97f4a7c15u ^ b};
    random.next();
    return random.next();
}

Fading::Fading(double doppler_hz, int paths, double rate, uint64_t seed) : _paths(paths)
{
    if (doppler_hz == 0 && paths == 1) return;
    Random random{seed};
    double power = 0;
    for (int p = 0; p < paths; p++) {
        _amplitude.push_back(std::pow(10, -3.0 * p / 20));
        power += _amplitude.back() * _amplitude.back();
        for (int w = 0; w < WAVES; w++) {
            // One wave in each sector of angles of arrival, at a random place in it.
            const double angle = TURN * (w + random.uniform()) / WAVES;
            _waves.push_back({doppler_hz * std::cos(angle) / rate, random.uniform()});
        }
    }
    for (double& amplitude : _amplitude) amplitude /= std::sqrt(power * WAVES);
}

std::complex<double> Fading::gain(int path, int64_t tick) const
{
    if (none()) return 1;
    std::complex<double> sum = 0;
    for (int w = 0; w < WAVES; w++) {
        const Wave& wave = _waves[size_t(path * WAVES + w)];
        const double cycles = wave.cycles_per_tick * double(tick) + wave.phase;
        sum += std::polar(1.0, TURN * (cycles - std::floor(cycles)));
    }
    return _amplitude[size_t(path)] * sum;
}

void add_noise(Sample* out, int64_t first, int64_t n, double sigma, uint64_t seed)
{
    for (int64_t block = first / BLOCK; block * BLOCK < first + n; block++) {
        Random random{mix(seed, uint64_t(block))};
        for (int64_t tick = block * BLOCK; tick < (block + 1) * BLOCK; tick++) {
            // Box and Muller: a radius and an angle make one complex sample.
            const float radius = float(sigma) * std::sqrt(-std::log(float(random.uniform())));
            const float angle = float(TURN) * float(random.uniform());
            if (tick >= first && tick < first + n)
                out[tick - first] += Sample(radius * std::cos(angle), radius * std::sin(angle));
        }
    }
}
