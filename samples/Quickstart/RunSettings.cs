using System.Text.Json;
using HybridArchitectures.Checkpoints;

namespace Quickstart;

/// <summary>What a run was asked for; kept in its folder, so that it can be gone on with.</summary>
sealed record RunSettings
{
    public const double DefaultMinutes = 2.5;

    /// <summary>Text files; null for the class library's documentation.</summary>
    public string? Data { get; init; }

    /// <summary>How long the whole program may take.</summary>
    public double Minutes { get; init; } = DefaultMinutes;

    public long Seed { get; init; } = 1;

    static string File(string folder) => Path.Combine(folder, "run.json");

    public void Check()
    {
        if (!double.IsFinite(Minutes) || Minutes < 0.5) throw new ArgumentException($"--minutes is {Minutes}; expected at least 0.5");
        if (Data is not null && !System.IO.File.Exists(Data) && !Directory.Exists(Data)) throw new ArgumentException($"--data is '{Data}'; expected a file or folder that exists");
    }

    public void Save(string folder) => AtomicWrite.Text(File(folder), JsonSerializer.Serialize(this, new JsonSerializerOptions { WriteIndented = true }));

    public static RunSettings Load(string folder)
    {
        if (!System.IO.File.Exists(File(folder))) throw new ArgumentException($"--resume is '{folder}'; expected the folder of a run, with run.json in it");
        try
        {
            return JsonSerializer.Deserialize<RunSettings>(System.IO.File.ReadAllText(File(folder))) ?? throw new JsonException("null");
        }
        catch (JsonException e)
        {
            throw new ArgumentException($"'{File(folder)}' is damaged: {e.Message}");
        }
    }
}
