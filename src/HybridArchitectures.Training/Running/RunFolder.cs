using System.Globalization;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Training.Running;

/// <summary>Represents the folder of a run. It contains checkpoints such as <c>step-00000100</c>, some of which are kept.</summary>
sealed class RunFolder(string path)
{
    const string Prefix = "step-", HiddenSuffix = ".deleted", LockName = ".running";

    public string Path => path;

    public string FolderOf(long step) => System.IO.Path.Combine(path, NameOf(step));

    static string NameOf(long step) => string.Create(CultureInfo.InvariantCulture, $"{Prefix}{step:d8}");

    /// <summary>Returns the checkpoints, by step.</summary>
    public List<(long Step, string Folder)> Checkpoints()
    {
        if (!Directory.Exists(path)) return [];
        AtomicWrite.RecoverAll(path);
        var found = new List<(long Step, string Folder)>();
        foreach (var folder in Directory.GetDirectories(path, Prefix + "*"))
        {
            var number = System.IO.Path.GetFileName(folder)[Prefix.Length..];
            if (long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long step)
                && File.Exists(System.IO.Path.Combine(folder, TrainingState.FileName)))
                found.Add((step, folder));
        }
        found.Sort();
        return found;
    }

    /// <summary>
    /// Locks the folder for one run until the result is disposed or the process ends, and deletes the leftovers of a run that died.
    /// </summary>
    /// <exception cref="IOException">Another run uses the folder, or the disk refuses access.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder is not writable.</exception>
    public IDisposable Lock()
    {
        var held = TakeLock();
        try
        {
            AtomicWrite.DeleteLeftovers(path, Prefix);
            foreach (var hidden in AtomicWrite.Hidden(path, Prefix, HiddenSuffix)) AtomicWrite.TryDelete(hidden);
            return held;
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    PathLock TakeLock()
    {
        try
        {
            Directory.CreateDirectory(path);
            if (PathLock.Try(System.IO.Path.Combine(path, LockName), out var conflict) is { } held) return held;
            throw new IOException($"'{path}' is in use by another run ({conflict!.Message})", conflict);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or DirectoryNotFoundException or PathTooLongException
            || (e is IOException && e.InnerException is null))
        {
            var message = $"'{path}' is not writable, but a trainer stores its checkpoints there: {e.Message}";
            throw e is UnauthorizedAccessException ? new UnauthorizedAccessException(message, e) : new IOException(message, e);
        }
    }

    /// <summary>Checks that a run can save in the folder: it is not in use, is writable, and has enough space for one checkpoint.</summary>
    /// <param name="bytes">The size of a checkpoint in bytes.</param>
    /// <exception cref="IOException">The folder is in use or full. The message says which.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder is not writable.</exception>
    public void RequireRoom(long bytes)
    {
        using (TakeLock()) { }
        if (FreeBytes() is { } free && free < bytes)
            throw new IOException(
                $"{nameof(TrainingOptions.Folder)} is '{path}' with {free >> 20} MiB free; "
                + $"expected at least {(bytes >> 20) + 1} MiB for one checkpoint");
    }

    // null if the system does not report it, as for some network shares
    long? FreeBytes()
    {
        try
        {
            var drive = new DriveInfo(OperatingSystem.IsWindows() ? System.IO.Path.GetPathRoot(path)! : path);
            return drive.TotalSize > 0 ? drive.AvailableFreeSpace : null;
        }
        catch (Exception e) when (e is ArgumentException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Checks that no other trainer has saved in the folder.</summary>
    /// <param name="known">The steps of the checkpoints that this trainer found or wrote.</param>
    /// <exception cref="IOException">There are other checkpoints.</exception>
    public void RequireUnchanged(IReadOnlySet<long> known)
    {
        var foreign = Checkpoints().Where(item => !known.Contains(item.Step)).ToArray();
        if (foreign.Length > 0)
            throw new IOException(
                $"'{path}' contains {System.IO.Path.GetFileName(foreign[^1].Folder)}, which another trainer has written since this one was created; "
                + $"go on with that run by {nameof(Trainer)}.{nameof(Trainer.Resume)}, or name another folder");
    }

    /// <summary>Reads the state of a checkpoint and verifies all of its files.</summary>
    /// <param name="checkpoint">The folder of the checkpoint.</param>
    /// <param name="skipDamaged">Whether the latest earlier sound checkpoint is used instead of a damaged one.</param>
    /// <exception cref="InvalidDataException">
    /// The checkpoint is damaged. The message contains the reason and names the latest earlier sound one.
    /// </exception>
    /// <exception cref="FileNotFoundException">A file is missing, and no earlier checkpoint is sound.</exception>
    public (string Checkpoint, TrainingState State) ReadSound(string checkpoint, bool skipDamaged)
    {
        try
        {
            return (checkpoint, ReadWhole(checkpoint));
        }
        catch (Exception e) when (e is InvalidDataException or FileNotFoundException)
        {
            foreach (var (_, earlier) in Enumerable.Reverse(Checkpoints()).SkipWhile(item => item.Folder != checkpoint).Skip(1))
            {
                if (TryReadWhole(earlier) is not { } state) continue;
                if (skipDamaged) return (earlier, state);
                throw new InvalidDataException(
                    $"{e.Message}. The earlier checkpoint '{earlier}' is sound: "
                    + $"resume from it by {nameof(Trainer)}.{nameof(Trainer.Resume)}(\"{earlier}\", ...), "
                    + $"or pass skipDamaged: true to take the latest sound checkpoint", e);
            }
            throw;
        }
    }

    static TrainingState? TryReadWhole(string checkpoint)
    {
        try
        {
            return ReadWhole(checkpoint);
        }
        catch (Exception e) when (e is InvalidDataException or FileNotFoundException)
        {
            return null;
        }
    }

    static TrainingState ReadWhole(string checkpoint)
    {
        var state = TrainingState.Read(checkpoint);
        string name = System.IO.Path.GetFileName(checkpoint), expected = NameOf(state.Step);
        if (name != expected)
            throw new InvalidDataException(
                $"'{checkpoint}' contains the checkpoint of step {state.Step}; expected the folder name {expected}. Rename it back to resume "
                + "from it");
        state.CheckFiles(checkpoint);
        return state;
    }

    /// <summary>Deletes the checkpoints up to <paramref name="current"/> that <paramref name="options"/> do not keep.</summary>
    public void Retain(TrainingOptions options, long current, IReadOnlyList<EvaluationPoint> evaluations)
    {
        var all = Checkpoints();
        var losses = evaluations.GroupBy(point => point.Step).ToDictionary(same => same.Key, same => same.Last().Result.Loss);
        long? best = all.Where(item => options.KeepBest && losses.ContainsKey(item.Step)).OrderBy(item => losses[item.Step])
            .Select(item => (long?)item.Step).FirstOrDefault();
        var old = all.Where(item => item.Step <= current).SkipLast(options.KeepLast)
            .Where(item => item.Step != best && (options.KeepEvery == 0 || item.Step % options.KeepEvery != 0));
        foreach (var (_, folder) in old)
        {
            // hide the folder first, because a process that dies while deleting must not leave half a checkpoint under its name
            var hidden = System.IO.Path.Combine(path, $".{System.IO.Path.GetFileName(folder)}{HiddenSuffix}");
            if (Directory.Exists(hidden)) Retry.Briefly(() => Directory.Delete(hidden, recursive: true));
            AtomicWrite.Move(folder, hidden);
            StorageEvents.Log.Step(folder, "old checkpoint hidden");
            AtomicWrite.TryDelete(hidden);
        }
    }

    /// <summary>Returns the checkpoint for the folder of a run or of a checkpoint, and the folder of the run.</summary>
    public static (string Checkpoint, string Run) Find(string folder)
    {
        Require.NotEmpty(folder);
        var full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(folder));
        if (!AtomicWrite.Exists(full)) throw new DirectoryNotFoundException($"no folder '{folder}'");
        if (File.Exists(System.IO.Path.Combine(full, TrainingState.FileName))) return (full, System.IO.Path.GetDirectoryName(full)!);
        var checkpoints = new RunFolder(full).Checkpoints();
        if (checkpoints.Count > 0) return (checkpoints[^1].Folder, full);
        var renamed = Directory.GetDirectories(full).FirstOrDefault(inner => File.Exists(System.IO.Path.Combine(inner, TrainingState.FileName)));
        throw new FileNotFoundException(
            $"'{folder}' is neither the folder of a training run nor one of its checkpoints: "
            + $"no {TrainingState.FileName} there, nor in a folder {Prefix}..."
            + (renamed is null ? "" : $"; '{renamed}' holds a checkpoint, but not under a name {Prefix}00000000"), folder);
    }
}
