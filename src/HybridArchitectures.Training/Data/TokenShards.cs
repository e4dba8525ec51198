using System.Globalization;
using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Writes text files as a folder of token shards (<c>00012-0003.safetensors</c>: file and part), which <see cref="Open"/> opens as one data set.
/// Several files are read at the same time. A shard appears when it is complete. After a stop or a kill, the same call continues after the last shard
/// of each file, and the result is identical byte for byte.
/// </summary>
/// <example>
/// <code>
/// File.WriteAllLines("lines.jsonl", Enumerable.Range(0, 100).Select(i => $"{{\"text\": \"Line {i} of the example.\"}}"));
/// TokenShards.Write(["lines.jsonl"], "example-shards", new ByteTokenizer(endOfText: true), new ShardingOptions { EndOfText = true });
/// using TokenDataset tokens = TokenShards.Open("example-shards");
/// Console.WriteLine($"{tokens.Count} tokens in {tokens.DocumentStarts.Count} documents");
/// </code>
/// </example>
public static class TokenShards
{
    const string LastKey = "last_of_file", DocumentsKey = "documents", ReplacedKey = "replaced_characters";
    static readonly TimeSpan BetweenReports = TimeSpan.FromMilliseconds(200);

    /// <summary>Writes the shards that do not exist yet.</summary>
    /// <param name="files">The files, see <see cref="DocumentFile"/>. Their order is that of the data.</param>
    /// <param name="folder">A new folder, or that of an earlier call with the same files, tokenizer and options.</param>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="options">The options. The default, null, means the default values.</param>
    /// <param name="progress">Receives the progress a few times per second and at the end, from any thread.</param>
    /// <param name="cancellation">Stops the work within a document. Complete shards remain.</param>
    /// <returns>The final progress: all files, documents and tokens, and the number of replaced unpaired surrogates.</returns>
    /// <exception cref="IOException">Another call is writing to the folder.</exception>
    /// <exception cref="ArgumentException">The folder contains shards of other files or options, or an option is out of range.</exception>
    /// <exception cref="InvalidDataException">A file is damaged. The message contains the file and the position.</exception>
    /// <exception cref="OperationCanceledException">The call was cancelled.</exception>
    public static ShardingProgress Write(IReadOnlyList<string> files, string folder, Tokenizer tokenizer, ShardingOptions? options = null,
        IProgress<ShardingProgress>? progress = null, CancellationToken cancellation = default)
    {
        Require.Items(files);
        Require.NotEmpty(folder);
        ArgumentNullException.ThrowIfNull(tokenizer);
        options ??= new ShardingOptions();
        options.Check();
        if (files.Count == 0) throw Require.Unfit(nameof(files), "files has 0 entries", "at least 1");
        if (options.BeginOfText && tokenizer.BeginOfText is null)
            throw Require.Unfit(nameof(options), "BeginOfText is true, but the tokenizer has no such token", "false");
        if (options.EndOfText && tokenizer.EndOfText is null)
            throw Require.Unfit(nameof(options), "EndOfText is true, but the tokenizer has no such token", "false");
        var sources = files.Select(file => new DocumentFile(file, options.ForFiles)).ToArray();
        Directory.CreateDirectory(folder);
        using var held = Begin(folder, ShardPlan.Create(files, tokenizer, options));
        foreach (var file in Directory.EnumerateFiles(folder).Where(IsAbandoned)) File.Delete(file);
        var work = new Work(sources, folder, tokenizer, options, progress, cancellation);
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = options.Workers == 0 ? Environment.ProcessorCount : options.Workers,
            CancellationToken = cancellation };
        try
        {
            Parallel.For(0, sources.Length, parallel, (index, state) => work.WriteFile(index, () => state.ShouldExitCurrentIteration));
        }
        catch (AggregateException e)
        {
            // one clear error; the others were caused by it, or concern other files
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(
                e.InnerExceptions.FirstOrDefault(inner => inner is not OperationCanceledException) ?? e.InnerExceptions[0]);
        }
        return work.Report();
    }

    /// <summary>Writes the plan, or compares it with the existing one, and excludes other writers until the result is disposed.</summary>
    static IDisposable Begin(string folder, ShardPlan plan)
    {
        try
        {
            if (ShardPlan.Read(folder) is not { } earlier) plan.Write(folder);
            else if (plan.Difference(earlier) is { } difference)
                throw Require.Unfit(nameof(folder), $"'{folder}' contains shards that differ in {difference}",
                    "the same files, tokenizer and options, or another folder");
            return File.OpenHandle(Path.Combine(folder, ShardPlan.FileName), FileMode.Open, FileAccess.Read, FileShare.None);
        }
        catch (IOException e) when (e is not (FileNotFoundException or DirectoryNotFoundException or PathTooLongException))
        {
            throw new IOException(
                $"'{folder}' is not writable now; expected no other {nameof(TokenShards)}.{nameof(Write)} in the folder ({e.Message})", e);
        }
    }

    // what AtomicWrite leaves if a process dies; names are compared here, because systems interpret a pattern such as ".*.new" differently
    static bool IsAbandoned(string path) => Path.GetFileName(path) is ['.', ..] name && name.EndsWith(".new", StringComparison.Ordinal);

    /// <summary>Opens all shards of a folder as one data set.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="InvalidDataException">A shard is missing or damaged, or the writing was not completed.</exception>
    public static TokenDataset Open(string folder)
    {
        Require.NotEmpty(folder);
        var plan = ShardPlan.Read(folder) ?? throw new FileNotFoundException(
            $"no file '{Path.Combine(folder, ShardPlan.FileName)}'; expected a folder that {nameof(TokenShards)}.{nameof(Write)} wrote");
        var parts = new List<TokenDataset>();
        try
        {
            for (int file = 0; file < plan.Files.Count; file++)
            {
                var (shards, finished, _, _) = Existing(folder, file);
                if (!finished)
                    throw new InvalidDataException(
                        $"{folder}: the shards of '{plan.Files[file].Path}' are not complete; call {nameof(Write)} to continue");
                foreach (var path in shards)
                {
                    if (HasTokens(path)) parts.Add(TokenDataset.Open(path));
                    if (parts.Count > 0 && parts[^1].VocabularySize != plan.VocabularySize)
                        throw new InvalidDataException(
                            $"{path}: a vocabulary size of {parts[^1].VocabularySize}; expected {plan.VocabularySize}, that of the folder");
                }
            }
            return parts.Count > 0 ? TokenDataset.Join(parts) : throw new InvalidDataException($"{folder}: none of the files has text");
        }
        catch
        {
            foreach (var part in parts) part.Dispose();
            throw;
        }
    }

    static string PathOf(string folder, int file, int part) =>
        Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{file:d5}-{part:d4}.safetensors"));

    static bool HasTokens(string path)
    {
        using var shard = SafetensorsFile.Open(path);
        return shard.Entries.Count > 0;
    }

    /// <summary>
    /// Returns the existing shards of a file, whether they are complete, the number of their documents, and the number of replaced surrogates.
    /// </summary>
    static (List<string> Paths, bool Finished, long Documents, long Replaced) Existing(string folder, int file, Action<long>? countTokens = null)
    {
        var paths = new List<string>();
        long documents = 0, replaced = 0;
        bool finished = false;
        while (!finished && File.Exists(PathOf(folder, file, paths.Count)))
        {
            var path = PathOf(folder, file, paths.Count);
            RegularFile.Require(path);
            using var shard = SafetensorsFile.Open(path);
            if (!shard.Metadata.TryGetValue(DocumentsKey, out var text)
                || !long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long count))
                throw new InvalidDataException(
                    $"{path}: no '{DocumentsKey}' in the metadata; expected a shard that {nameof(TokenShards)}.{nameof(Write)} wrote");
            paths.Add(path);
            documents += count;
            if (shard.Metadata.TryGetValue(ReplacedKey, out text) && long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out count))
                replaced += count;
            if (shard.Entries.Count > 0) countTokens?.Invoke(shard["tokens"].Shape[0]);
            finished = shard.Metadata.GetValueOrDefault(LastKey) == "true";
        }
        return (paths, finished, documents, replaced);
    }

    sealed class Work(DocumentFile[] sources, string folder, Tokenizer tokenizer, ShardingOptions options, IProgress<ShardingProgress>? progress,
        CancellationToken cancellation)
    {
        readonly long totalBytes = sources.Sum(source => source.Length);
        readonly Lock reporting = new();
        long documents, tokens, replaced, lastReport;
        int files;

        public void WriteFile(int file, Func<bool> shouldEnd)
        {
            var (shards, finished, there, replacedThere) = Existing(folder, file, count => Interlocked.Add(ref tokens, count));
            Interlocked.Add(ref documents, there);
            Interlocked.Add(ref replaced, replacedThere);
            if (finished) sources[file].Position = sources[file].Length;
            else WriteRest(file, shards.Count, there, shouldEnd);
            Interlocked.Increment(ref files);
            ReportIfDue();
        }

        void WriteRest(int file, int part, long skipped, Func<bool> shouldEnd)
        {
            var ids = new List<int>();
            var starts = new List<long>();
            long replacedBefore = 0, replacedInShard = 0;
            foreach (var text in sources[file].Read())
            {
                cancellation.ThrowIfCancellationRequested();
                if (shouldEnd()) throw new OperationCanceledException();
                long replacedHere = sources[file].ReplacedCharacters - replacedBefore;
                replacedBefore += replacedHere;
                if (--skipped >= 0) continue;
                // a shard is written when another document is known to follow, so that the last shard can be marked as the last
                if (ids.Count >= options.TokensPerShard) Flush(file, part++, ids, starts, ref replacedInShard, last: false);
                replacedInShard += replacedHere;
                Interlocked.Add(ref replaced, replacedHere);
                starts.Add(ids.Count);
                if (options.BeginOfText) ids.Add(tokenizer.BeginOfText!.Value);
                int before = ids.Count;
                ids.AddRange(tokenizer.Encode(text));
                if (options.EndOfText) ids.Add(tokenizer.EndOfText!.Value);
                Interlocked.Increment(ref documents);
                Interlocked.Add(ref tokens, ids.Count - starts[^1]);
                ReportIfDue();
            }
            Flush(file, part, ids, starts, ref replacedInShard, last: true);
        }

        void Flush(int file, int part, List<int> ids, List<long> starts, ref long replacedInShard, bool last)
        {
            var notes = new Dictionary<string, string> { [DocumentsKey] = starts.Count.ToString(CultureInfo.InvariantCulture),
                [LastKey] = last ? "true" : "false" };
            if (replacedInShard > 0) notes[ReplacedKey] = replacedInShard.ToString(CultureInfo.InvariantCulture);
            var path = PathOf(folder, file, part);
            if (ids.Count == 0) SafetensorsFile.Write(path, [], notes);      // a file without text is complete too
            else
            {
                using var shard = TokenDataset.FromTokens(
                    System.Runtime.InteropServices.CollectionsMarshal.AsSpan(ids), tokenizer.VocabularySize, starts,
                    id => tokenizer.IsSpecial(id) ? 0 : tokenizer.Bytes(id).Length);
                shard.Save(path, notes);
            }
            ids.Clear();
            starts.Clear();
            replacedInShard = 0;
        }

        void ReportIfDue()
        {
            if (progress is not null && Environment.TickCount64 - Interlocked.Read(ref lastReport) >= BetweenReports.TotalMilliseconds) Report();
        }

        public ShardingProgress Report()
        {
            lock (reporting)
            {
                Interlocked.Exchange(ref lastReport, Environment.TickCount64);
                var report = new ShardingProgress(
                    files, sources.Length, sources.Sum(source => source.Position), totalBytes, documents, tokens) { ReplacedCharacters = replaced };
                progress?.Report(report);
                return report;
            }
        }
    }
}
