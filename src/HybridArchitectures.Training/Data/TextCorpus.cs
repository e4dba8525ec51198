using System.Collections.Concurrent;
using System.Text;
using System.Text.Unicode;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Training.Data;

/// <summary>Contains training texts and held-out texts.</summary>
/// <param name="Source">A description of the source of the texts.</param>
/// <param name="Training">The training texts.</param>
/// <param name="HeldOut">The held-out texts, which training never sees.</param>
public sealed record TextCorpus(string Source, IReadOnlyList<TextDocument> Training, IReadOnlyList<TextDocument> HeldOut)
{
    const long MaxBytes = int.MaxValue, MaxTextBytes = 1 << 30;

    static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Gets the number of bytes of the training texts in UTF-8.</summary>
    public long TrainingBytes => Training.Sum(document => (long)Encoding.UTF8.GetByteCount(document.Text));

    /// <summary>Gets the number of bytes of the held-out texts in UTF-8.</summary>
    public long HeldOutBytes => HeldOut.Sum(document => (long)Encoding.UTF8.GetByteCount(document.Text));

    /// <summary>
    /// Gets or sets the files of the folder that were not read, in the ordinal order of their names. Hidden files are not listed. The default is an
    /// empty list.
    /// </summary>
    public IReadOnlyList<OmittedFile> Omitted { get; init; } = [];

    /// <summary>Reads a file, or all text files in a folder and its subfolders.</summary>
    /// <param name="path">
    /// A file or a folder. Files are read as <see cref="DocumentFile"/> reads them: text, JSON records with the property <c>text</c>, or parquet with
    /// the column <c>text</c>. In a folder, the name of a document is its relative path with <c>/</c> as the separator on every system. Links to
    /// files and folders are followed, and a file that several paths lead to is read once. Hidden files are ignored. Files that are empty, not
    /// regular or not UTF-8 text, and <c>.json</c> files without such records are not read; <see cref="Omitted"/> lists them.
    /// </param>
    /// <param name="heldOutShare">The share of held-out text, in (0, 0.5]. The default is 0.05.</param>
    /// <exception cref="FileNotFoundException">The file or folder does not exist.</exception>
    /// <exception cref="InvalidDataException">
    /// The file is empty, damaged or not text, the folder has no text file, or there are more than 2 GiB of text, which <see cref="TokenShards"/> can
    /// stream.
    /// </exception>
    public static TextCorpus FromPath(string path, double heldOutShare = 0.05)
    {
        Require.NotEmpty(path);
        if (!Directory.Exists(path))
        {
            if (!File.Exists(path)) throw new FileNotFoundException($"no file or folder '{path}'", path);
            return FromDocuments(path, Bounded(path, Records(new DocumentFile(path), path, isInFolder: false)), heldOutShare);
        }
        var found = new FolderFiles(path);
        var omitted = new ConcurrentBag<OmittedFile>(found.Omitted);
        var documents = found.Files.AsParallel().AsOrdered().SelectMany(file => ReadFile(file.Path, file.Name, omitted));
        var all = Unwrapped(() => Bounded(path, documents));
        if (all.Count == 0)
            throw new InvalidDataException($"{path}: none of the {found.Files.Count} files in this folder is text (UTF-8, not empty)");
        return FromDocuments(path, all, heldOutShare) with { Omitted = [.. omitted.OrderBy(file => file.Name, StringComparer.Ordinal)] };
    }

    // throws the error of the file, not that of the threads
    internal static T Unwrapped<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (AggregateException e) when (e.InnerExceptions is [var first, ..])
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);
            throw;
        }
    }

    static bool IsCompressed(string path) =>
        path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) || path.EndsWith(".zst", StringComparison.OrdinalIgnoreCase);

    static List<TextDocument> Bounded(string path, IEnumerable<TextDocument> documents)
    {
        var all = new List<TextDocument>();
        long bytes = 0;
        foreach (var document in documents)
        {
            bytes += Encoding.UTF8.GetByteCount(document.Text);
            if (bytes > MaxBytes)
                throw new InvalidDataException(
                    $"{path}: more than {MaxBytes} bytes of text; expected at most that number in memory. Use {nameof(TokenShards)} for more");
            all.Add(document);
        }
        return all;
    }

    static IEnumerable<TextDocument> ReadFile(string file, string name, ConcurrentBag<OmittedFile> omitted)
    {
        if (!RegularFile.Is(file))
        {
            omitted.Add(new(name, "this is not a regular file"));
            yield break;
        }
        var records = new DocumentFile(file);
        bool isText = records.Layout == DocumentLayout.Text, any = false;
        var documents = isText && !IsCompressed(file) ? ReadText(file, name) : Records(records, name, isInFolder: true);
        foreach (var document in documents)
        {
            if (document.Text.Length == 0) continue;
            any = true;
            yield return document;
        }
        if (!any) omitted.Add(new(name, isText ? "the file is empty or not UTF-8 text" : "the file has no records with a text"));
    }

    static IEnumerable<TextDocument> Records(DocumentFile file, string name, bool isInFolder)
    {
        int number = 0;
        using var texts = file.Read().GetEnumerator();
        while (MoveNext(number == 0))
        {
            number++;
            yield return new TextDocument(number == 1 && file.Layout == DocumentLayout.Text ? name : $"{name}#{number}", texts.Current);
        }

        // settings and similar files are JSON too
        bool MoveNext(bool first)
        {
            try
            {
                return texts.MoveNext();
            }
            catch (InvalidDataException) when (first && isInFolder && file.Layout is DocumentLayout.Json or DocumentLayout.Text)
            {
                return false;
            }
        }
    }

    // nothing if the file is not text, which its first block usually shows
    static TextDocument[] ReadText(string file, string name)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 1);
        using var memory = new MemoryStream();
        var buffer = new byte[1 << 16];
        for (int got; (got = stream.Read(buffer)) > 0; memory.Write(buffer, 0, got))
        {
            if (buffer.AsSpan(0, got).Contains((byte)0)) return [];
            if (memory.Length == 0 && !BeginsAsUtf8(buffer.AsSpan(0, got))) return [];
            if (memory.Length == 0) RefuseRecords(file, buffer.AsSpan(0, got));
            if (memory.Length + got > MaxTextBytes)
                throw new InvalidDataException(
                    $"{file}: a text of more than {MaxTextBytes} bytes; expected at most that number in memory. Use {nameof(TokenShards)} for more");
        }
        try
        {
            var text = Strict.GetString(memory.GetBuffer(), 0, (int)memory.Length);
            return [new TextDocument(name, text.StartsWith('\uFEFF') ? text[1..] : text)];
        }
        catch (DecoderFallbackException)
        {
            return [];
        }
    }

    static void RefuseRecords(string file, ReadOnlySpan<byte> block)
    {
        int end = block.IndexOf((byte)'\n');
        if (JsonRecord.IsRecord(end < 0 ? block : block[..end], "text"))
            throw new InvalidDataException($"{file}: the first line is a JSON object with the property 'text'; expected text. Name the file .jsonl");
    }

    // the last character of a block may be incomplete
    static bool BeginsAsUtf8(ReadOnlySpan<byte> block)
    {
        for (int cut = 0; cut < 4 && cut <= block.Length; cut++)
            if (Utf8.IsValid(block[..^cut])) return true;
        return false;
    }

    /// <summary>
    /// Splits texts into training texts and held-out texts: complete texts, selected by their names, if that is close to the requested share, and the
    /// last part of each text otherwise. The same texts are always split in the same way.
    /// </summary>
    /// <param name="source">A description of the source of the texts.</param>
    /// <param name="documents">The texts.</param>
    /// <param name="heldOutShare">The share of held-out text, in (0, 0.5]. The default is 0.05.</param>
    public static TextCorpus FromDocuments(string source, IEnumerable<TextDocument> documents, double heldOutShare = 0.05)
    {
        ArgumentNullException.ThrowIfNull(source);
        Require.InRange(heldOutShare is > 0 and <= 0.5, nameof(heldOutShare), heldOutShare, "a fraction in (0, 0.5]");
        var all = Require.EachItem(documents).Where(document => document.Text.Length > 0).ToArray();
        if (all.Length == 0) throw new InvalidDataException($"{source}: there is no text");
        long total = all.Sum(document => (long)document.Text.Length);
        var heldOut = HeldOutSplit.Choose(all, document => document.Name, document => document.Text.Length, heldOutShare);
        long chosen = heldOut.Sum(document => (long)document.Text.Length);
        if (all.Length > 1 && chosen >= total * heldOutShare / 2)
            return new TextCorpus(source, all.Where(document => !heldOut.Contains(document)).ToArray(), heldOut.ToArray());
        var parts = Array.ConvertAll(all, document => (document.Name, document.Text, Cut: HeldOutSplit.CutPoint(document.Text, heldOutShare)));
        var corpus = new TextCorpus(source,
            parts.Where(part => part.Cut > 0).Select(part => new TextDocument(part.Name, part.Text[..part.Cut])).ToArray(),
            parts.Where(part => part.Cut < part.Text.Length).Select(part => new TextDocument(part.Name, part.Text[part.Cut..])).ToArray());
        if (corpus.Training.Count == 0 || corpus.HeldOut.Count == 0)
            throw new InvalidDataException($"{source}: {total} characters are too few for a split");
        return corpus;
    }
}
