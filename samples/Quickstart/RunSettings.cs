using System.Globalization;
using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;

namespace Quickstart;

/// <summary>The settings of a run. They are kept in its folder, so that a stopped run can go on.</summary>
sealed record RunSettings
{
    public const double DefaultMinutes = 2.5, MinMinutes = 0.5, MaxMinutes = 10_080;

    /// <summary>Text files; null for the class library's documentation.</summary>
    public string? Data { get; init; }

    /// <summary>How long the whole program may take.</summary>
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
