using System.Text.Json;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Training.Conversion;

/// <summary>Contains the measurements of a scan as they are stored.</summary>
/// <param name="Version">The version of the format.</param>
/// <param name="Scan">A text that is the same for scans of the same model, data and options.</param>
/// <param name="Tokens">The number of predicted tokens.</param>
/// <param name="Losses">The losses in nats per token, by the name of the measurement.</param>
sealed record ImportanceRecord(int Version, string Scan, long Tokens, Dictionary<string, double> Losses)
{
    public const int CurrentVersion = 1;

    /// <summary>Writes the file. Its folder is created.</summary>
    public void Write(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        AtomicWrite.Text(path, JsonSerializer.Serialize(this, ImportanceJsonContext.Default.ImportanceRecord) + "\n");
    }

    /// <summary>Reads the measurements of the same scan, or returns those of a new scan.</summary>
    /// <exception cref="ArgumentException">The file contains another scan.</exception>
    /// <exception cref="InvalidDataException">The file is damaged.</exception>
    public static ImportanceRecord ReadOrCreate(string? path, string scan)
    {
        if (path is null || !File.Exists(path)) return new(CurrentVersion, scan, 0, []);
        try
        {
            string text = BoundedFile.ReadText(path, BoundedFile.MaxConfigBytes);
            FormatVersion.Require(text, CurrentVersion);
            var record = JsonSerializer.Deserialize(text, ImportanceJsonContext.Default.ImportanceRecord)
                ?? throw new JsonException("the file is null; expected an object");
            if (record.Scan == scan) return record;
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{path}: {e.Message}", e);
        }
        throw Require.Unfit("options", $"File is '{path}', which contains a scan of another model, other data or other options",
            "the file of this scan, or a path without a file");
    }
}
