using System.Text;

namespace HybridArchitectures.Training;

/// <summary>Texts to train on and texts held out to measure on.</summary>
/// <param name="Source">Where the texts come from, in words.</param>
/// <param name="Training">The texts to train on.</param>
/// <param name="HeldOut">The texts that training never sees.</param>
public sealed record TextCorpus(string Source, IReadOnlyList<TextDocument> Training, IReadOnlyList<TextDocument> HeldOut)
{
    static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Bytes of the training texts in UTF-8.</summary>
    public long TrainingBytes => Training.Sum(document => (long)Encoding.UTF8.GetByteCount(document.Text));

    /// <summary>Bytes of the held-out texts in UTF-8.</summary>
    public long HeldOutBytes => HeldOut.Sum(document => (long)Encoding.UTF8.GetByteCount(document.Text));

    /// <summary>The corpus of a text file, or of all text files (UTF-8) in a folder and its subfolders.</summary>
    /// <param name="path">A file, which must be text, or a folder, in which hidden files and those that are not UTF-8 text are passed over.</param>
    /// <param name="heldOutShare">The share of the text to hold out, in (0, 0.5].</param>
    /// <exception cref="FileNotFoundException">There is neither a file nor a folder.</exception>
    /// <exception cref="InvalidDataException">The file is empty or not text, or the folder has no text file.</exception>
    public static TextCorpus FromPath(string path, double heldOutShare = 0.05)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (File.Exists(path))
            return FromDocuments(path, [Read(path)
                ?? throw new InvalidDataException($"{path}: the file is not text (UTF-8 without zero bytes)")], heldOutShare);
        if (!Directory.Exists(path)) throw new FileNotFoundException($"no file or folder '{path}'", path);
        var options = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.Hidden | FileAttributes.System | FileAttributes.ReparsePoint };
        var files = Directory.EnumerateFiles(path, "*", options).Order(StringComparer.Ordinal).ToArray();
        var documents = files.AsParallel().AsOrdered().Select(Read).OfType<TextDocument>().Where(document => document.Text.Length > 0).ToArray();
        if (documents.Length == 0) throw new InvalidDataException($"{path}: none of the {files.Length} files in this folder is text (UTF-8, not empty)");
        return FromDocuments(path, documents.Select(document => document with { Name = Path.GetRelativePath(path, document.Name) }), heldOutShare);
    }

    static TextDocument? Read(string file)
    {
        var bytes = File.ReadAllBytes(file);
        if (bytes.AsSpan().Contains((byte)0)) return null;
        try
        {
            var text = Strict.GetString(bytes);
            return new TextDocument(file, text.StartsWith('\uFEFF') ? text[1..] : text);
        }
        catch (DecoderFallbackException)
        {
            return null;
        }
    }

    /// <summary>
    /// Splits texts into those to train on and those to hold out: whole texts, chosen by their names, where that comes near the share asked for;
    /// else the last part of each.
    /// The same texts are always split the same way.
    /// </summary>
    /// <param name="source">Where the texts come from, in words.</param>
    /// <param name="documents">The texts.</param>
    /// <param name="heldOutShare">The share of the text to hold out, in (0, 0.5].</param>
    public static TextCorpus FromDocuments(string source, IEnumerable<TextDocument> documents, double heldOutShare = 0.05)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(documents);
        Refuse.Unless(heldOutShare is > 0 and <= 0.5, heldOutShare, nameof(heldOutShare), "a share in (0, 0.5]");
        var all = documents.Where(document => document.Text.Length > 0).ToArray();
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
            throw new InvalidDataException($"{source}: {total} characters are too few to hold some out");
        return corpus;
    }
}
