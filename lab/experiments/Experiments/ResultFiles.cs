using System.IO.Compression;
using HybridArchitectures.Evaluation.Sweeps;

namespace HybridArchitectures.Experiments;

/// <summary>Packs the files of runs without checkpoints, and merges them.</summary>
static class ResultFiles
{
    const string CheckpointsFolder = "training";

    /// <summary>
    /// Writes a zip file with the complete runs of a folder, and the learning rates. A run that still has checkpoints is not complete.
    /// </summary>
    public static void Pack(string folder, string archive)
    {
        string temporary = $"{archive}.{Environment.ProcessId}";
        using (var zip = ZipFile.Open(temporary, ZipArchiveMode.Create))
            foreach (string file in Directory.GetFiles(folder, "*.json", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
            {
                string name = Path.GetRelativePath(folder, file).Replace('\\', '/');
                string[] parts = name.Split('/');
                bool isIncomplete = parts is ["runs", var run, ..] && Directory.Exists(Path.Combine(folder, "runs", run, CheckpointsFolder));
                if (!isIncomplete && !parts.Any(part => part.StartsWith('.')))
                    zip.CreateEntryFromFile(file, name, CompressionLevel.SmallestSize);
            }
        File.Move(temporary, archive, overwrite: true);
    }

    /// <summary>Adds the runs of a zip file that <see cref="Pack"/> wrote to a folder of runs. Files that exist are left as they are.</summary>
    public static void Unpack(string archive, string folder)
    {
        using var zip = ZipFile.OpenRead(archive);
        string root = Path.GetFullPath(folder);
        foreach (var entry in zip.Entries)
        {
            string path = Path.GetFullPath(Path.Combine(root, entry.FullName));
            if (!path.StartsWith(root + Path.DirectorySeparatorChar, StringComparison.Ordinal))
                throw new InvalidDataException($"{archive} contains {entry.FullName}; expected names inside the folder.");
            bool isFolder = entry.Name.Length == 0;
            if (isFolder || File.Exists(path)) continue;
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            entry.ExtractToFile(path);
        }
    }

    /// <summary>Writes the complete runs of a folder as one file of JSON lines.</summary>
    public static SweepResult Collect(string folder, string file)
    {
        var complete = Sweep.Read(folder).Runs.Where(run => run.Training is not null)
            .OrderBy(run => run.Settings.Name, StringComparer.Ordinal).ThenBy(run => run.Settings.Seed).ToArray();
        foreach (var runs in complete.GroupBy(run => (run.Settings.Name, run.Settings.Seed)).Where(group => group.Count() > 1))
            throw new InvalidDataException($"{folder} contains {runs.Count()} runs of {runs.Key.Name}, seed {runs.Key.Seed}: "
                + $"{string.Join(", ", runs.Select(run => Path.GetFileName(run.Folder)))}; expected one. Delete those with other options.");
        var result = new SweepResult(complete, true);
        result.WriteFile(file);
        return result;
    }
}
