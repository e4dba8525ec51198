using System.Globalization;
using HybridArchitectures.Checkpoints;

namespace HybridArchitectures.Training;

/// <summary>A run's folder: checkpoints <c>step-00000100</c>, of which some are kept.</summary>
sealed class RunFolder(string path)
{
    const string Prefix = "step-", HiddenSuffix = ".deleted", LockName = ".running";

    public string Path => path;

    public string FolderOf(long step) => System.IO.Path.Combine(path, $"{Prefix}{step:d8}");

    /// <summary>The checkpoints there, by step.</summary>
    public List<(long Step, string Folder)> Checkpoints()
    {
        if (!Directory.Exists(path)) return [];
        AtomicWrite.RecoverAll(path);
        var found = new List<(long Step, string Folder)>();
        foreach (var folder in Directory.GetDirectories(path, Prefix + "*"))
        {
            var number = System.IO.Path.GetFileName(folder)[Prefix.Length..];
            if (long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long step) && File.Exists(System.IO.Path.Combine(folder, TrainingState.FileName)))
                found.Add((step, folder));
        }
        found.Sort();
        return found;
    }

    /// <summary>Takes the folder for one run, until disposed or until the process dies, and clears away what died with an earlier one.</summary>
    /// <exception cref="IOException">Another run has it.</exception>
    public IDisposable Hold()
    {
        Directory.CreateDirectory(path);
        FileStream held;
        try
        {
            held = new FileStream(System.IO.Path.Combine(path, LockName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (IOException e) when (e is not (FileNotFoundException or DirectoryNotFoundException or PathTooLongException))
        {
            throw new IOException($"'{path}' is in use: another run goes on there ({e.Message})", e);
        }
        AtomicWrite.DeleteLeftovers(path, Prefix);
        foreach (var hidden in Directory.GetDirectories(path, $".{Prefix}*{HiddenSuffix}")) Directory.Delete(hidden, recursive: true);
        return held;
    }

    /// <summary>Deletes the checkpoints up to <paramref name="current"/> that <paramref name="options"/> do not keep.</summary>
    public void Retain(TrainingOptions options, long current, IReadOnlyList<EvaluationPoint> evaluations)
    {
        var all = Checkpoints();
        var losses = evaluations.GroupBy(point => point.Step).ToDictionary(same => same.Key, same => same.Last().Result.Loss);
        long? best = all.Where(item => options.KeepBest && losses.ContainsKey(item.Step)).OrderBy(item => losses[item.Step]).Select(item => (long?)item.Step).FirstOrDefault();
        var old = all.Where(item => item.Step <= current).SkipLast(options.KeepLast)
            .Where(item => item.Step != best && (options.KeepEvery == 0 || item.Step % options.KeepEvery != 0));
        foreach (var (_, folder) in old)
        {
            // first out of sight: a death while deleting must not leave half a checkpoint under its name
            var hidden = System.IO.Path.Combine(path, $".{System.IO.Path.GetFileName(folder)}{HiddenSuffix}");
            if (Directory.Exists(hidden)) Directory.Delete(hidden, recursive: true);
            Directory.Move(folder, hidden);
            AtomicWrite.Passing?.Invoke();
            Directory.Delete(hidden, recursive: true);
        }
    }

    /// <summary>The checkpoint that a run's folder, or the checkpoint's own, means, and the run's folder.</summary>
    public static (string Checkpoint, string Run) Find(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        var full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(folder));
        AtomicWrite.Recover(full);
        if (!Directory.Exists(full)) throw new DirectoryNotFoundException($"no folder '{folder}'");
        if (File.Exists(System.IO.Path.Combine(full, TrainingState.FileName))) return (full, System.IO.Path.GetDirectoryName(full)!);
        var checkpoints = new RunFolder(full).Checkpoints();
        return checkpoints.Count > 0 ? (checkpoints[^1].Folder, full)
            : throw new FileNotFoundException(
                $"'{folder}' is neither a training run's folder nor one of its checkpoints: no {TrainingState.FileName} there, nor in a folder {Prefix}...", folder);
    }
}
