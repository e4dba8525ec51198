using System.Globalization;
using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;

namespace Quickstart;

/// <summary>Contains the settings of a run. They are stored in its folder, so a stopped run can continue.</summary>
sealed record RunSettings
{
    public const double DefaultMinutes = 2.5, MinMinutes = 0.5, MaxMinutes = 10_080;

    /// <summary>Gets the text file or folder, or null for the documentation of the class library.</summary>
    public string? Data { get; init; }

    /// <summary>Gets the maximum time of the whole program in minutes.</summary>
    public double Minutes { get; init; } = DefaultMinutes;

    public long Seed { get; init; } = 1;

    static string File(string folder) => Path.Combine(folder, "run.json");

    public void Check()
    {
        if (!(Minutes is >= MinMinutes and <= MaxMinutes))
            throw new ArgumentException(string.Create(
                CultureInfo.InvariantCulture, $"--minutes is {Minutes}; expected a number from {MinMinutes} to {MaxMinutes}"));
        if (Data is not null && !System.IO.File.Exists(Data) && !Directory.Exists(Data))
            throw new ArgumentException($"--data is '{Data}'; expected a file or folder that exists");
    }

    public void Save(string folder) =>
        AtomicWrite.Text(File(folder), JsonSerializer.Serialize(this, new JsonSerializerOptions { WriteIndented = true }));

    public static RunSettings Load(string folder)
    {
        if (!System.IO.File.Exists(File(folder)))
            throw new ArgumentException($"--resume is '{folder}'; expected the folder of a run, with run.json in it");
        try
        {
            var settings = JsonSerializer.Deserialize<RunSettings>(System.IO.File.ReadAllText(File(folder)))
                ?? throw new JsonException("null");
            settings.Check();
            return settings;
        }
        catch (JsonException e)
        {
            throw new ArgumentException($"'{File(folder)}' is damaged: {e.Message}");
        }
    }
}
