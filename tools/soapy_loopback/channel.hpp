// SPDX-License-Identifier: GPL-3.0-or-later
// What a radio signal goes through between two antennas, as functions of the sample's number and a seed alone,
// so that a run does not depend on how the samples are cut into pieces.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

using Sample = std::complex<float>;

// Ticks (samples) over which the fading is interpolated and for which noise is drawn at once.
constexpr int64_t BLOCK = 64;

// Multipath fading: Rayleigh paths one sample apart, each 3 dB below the one before, unit mean power in total.
class Fading
{
public:
    // Without fading there is one path of gain 1: give doppler_hz = 0 and paths = 1.
    Fading(double doppler_hz, int paths, double rate, uint64_t seed);

    int paths() const { return _paths; }
    bool none() const { return _waves.empty(); }
    std::complex<double> gain(int path, int64_t tick) const;

private:
    struct Wave {
        double cycles_per_tick, phase;
    };
    int _paths;
    std::vector<double> _amplitude; // by path
    std::vector<Wave> _waves;       // a fixed number for each path
};

// Adds complex Gaussian noise of this standard deviation (of the complex sample) to out[0..n), ticks first..first+n.
void add_noise(Sample* out, int64_t first, int64_t n, double sigma, uint64_t seed);

// A seed of its own for each purpose.
uint64_t mix(uint64_t a, uint64_t b);
