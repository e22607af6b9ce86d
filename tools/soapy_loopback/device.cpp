// SPDX-License-Identifier: GPL-3.0-or-later
#include "device.hpp"

#include <SoapySDR/Registry.hpp>

#include <cmath>

namespace
{
void check(const std::string& what, bool good)
{
    if (!good) throw std::runtime_error(DRIVER + ": " + what + " is out of range or no number");
}

double number(const std::string& key, const std::string& value)
{
    size_t used = 0;
    double parsed = NAN;
    try { parsed = std::stod(value, &used); } catch (const std::exception&) { used = 0; }
    check(key + "=" + value, used == value.size() && std::isfinite(parsed));
    return parsed;
}
} // namespace

Settings::Settings(const SoapySDR::Kwargs& args)
{
    const std::map<std::string, std::string*> words = {
        {"serial", &serial}, {"air", &air}, {"pacing", &pacing}};
    const std::map<std::string, double*> numbers = {
        {"path_loss_db", &path_loss_db}, {"noise_dbfs", &noise_dbfs},   {"cfo", &cfo},
        {"doppler", &doppler},           {"saturation_dbfs", &saturation_dbfs},
        {"seed", &seed},                 {"channels", &channels},       {"delay", &delay},
        {"paths", &paths},               {"adc_bits", &adc_bits},       {"underrun_every", &underrun_every},
        {"late_every", &late_every},     {"overrun_every", &overrun_every}};
    const std::vector<std::string> others = {"driver", "type", "label", "master_clock_rate"};
    for (const auto& [key, value] : args) {
        if (words.count(key)) *words.at(key) = value;
        else if (numbers.count(key)) *numbers.at(key) = number(key, value);
        else if (std::find(others.begin(), others.end(), key) == others.end())
            throw std::runtime_error(DRIVER + " has no argument '" + key + "'");
    }
    check("pacing", pacing == "real" || pacing == "virtual");
    check("channels", channels >= 1 && channels <= 8);
    check("paths", paths >= 1 && paths <= 16);
    check("delay", delay >= 0 && delay <= 60000);
    check("doppler", doppler >= 0);
    check("adc_bits", adc_bits == 0 || (adc_bits >= 2 && adc_bits <= 24));
    check("underrun_every, late_every, overrun_every",
          (underrun_every == 0 || underrun_every >= 1) && (late_every == 0 || late_every >= 1) &&
              (overrun_every == 0 || overrun_every > OVERRUN));
}

namespace
{
SoapySDR::KwargsList find(const SoapySDR::Kwargs& args)
{
    // Only who asks for it by name gets it: it must never pass for a radio.
    if (!args.count("driver") || args.at("driver") != DRIVER) return {};
    SoapySDR::Kwargs found = args; // all the arguments: UHD opens what it found
    found.emplace("serial", "0"); // or UHD makes one of the arguments, and with it another seed
    found["label"] = "gr-lighttune stand-in radio";
    return {found};
}

SoapySDR::Device* make(const SoapySDR::Kwargs& args) { return new Loopback(args); }

const SoapySDR::Registry registration(DRIVER, &find, &make, SOAPY_SDR_ABI_VERSION);
} // namespace
