using System.Runtime.InteropServices;
using System.Text;
using System.Xml;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Provides English text that is on every machine with a .NET SDK: the documentation of the class library, from the XML files of the SDK's targeting
/// pack or, if the SDK has none, of the restored NuGet packages.
/// <para>
/// Tags are removed. Only the first occurrence of a sentence is kept, so no sentence of the training text is in the held-out text. The split is by
/// assembly. It depends only on names and contents, so the same files give the same text.
/// </para>
/// </summary>
public static class DocumentationCorpus
{
    /// <summary>The default share of held-out text.</summary>
    public const double DefaultHeldOutShare = 0.07;

    /// <summary>Finds the documentation and creates a corpus.</summary>
    /// <param name="heldOutShare">The share of held-out text, in (0, 0.5], as closely as complete assemblies allow. The default is 0.07.</param>
    /// <exception cref="DirectoryNotFoundException">
    /// Neither a targeting pack nor packages with documentation were found. The message lists the searched folders.
    /// </exception>
    public static TextCorpus Load(double heldOutShare = DefaultHeldOutShare)
    {
        foreach (var root in DotnetRoots())
        {
            var files = TargetingPack(Path.Combine(root, "packs", "Microsoft.NETCore.App.Ref"));
            if (files.Length > 0)
                return FromFiles(files, heldOutShare, $"documentation of the .NET class library ({Path.GetDirectoryName(files[0])})");
        }
        foreach (var root in PackageRoots())
        {
            var files = TargetingPack(Path.Combine(root, "microsoft.netcore.app.ref"));
            if (files.Length == 0) files = Packages(root);
            if (files.Length > 1) return FromFiles(files, heldOutShare, $"documentation of the restored packages ({root})");
        }
        throw new DirectoryNotFoundException(
            $"no XML documentation to train on: looked for packs/Microsoft.NETCore.App.Ref under {string.Join(", ", DotnetRoots())} "
            + $"and for packages under {string.Join(", ", PackageRoots())}; name a text file or folder instead");
    }

    /// <summary>Creates a corpus from XML documentation files, one document per file.</summary>
    /// <param name="files">The files. Of several files with one name, the largest is used. Files that are not XML documentation are ignored.</param>
    /// <param name="heldOutShare">The share of held-out text, in (0, 0.5]. The default is 0.07.</param>
    /// <param name="source">A description of the files.</param>
    /// <exception cref="InvalidDataException">The files contain no text, all text is in one file, or a path is not a regular file.</exception>
    public static TextCorpus FromFiles(IEnumerable<string> files, double heldOutShare = DefaultHeldOutShare, string source = "XML documentation")
    {
        ArgumentNullException.ThrowIfNull(source);
        Require.InRange(heldOutShare is > 0 and <= 0.5, nameof(heldOutShare), heldOutShare, "a fraction in (0, 0.5]");
        files = [.. Require.EachItem(files)];
        foreach (var file in files) RegularFile.Require(file);
        var chosen = files.GroupBy(Path.GetFileNameWithoutExtension, StringComparer.OrdinalIgnoreCase)
            .Select(same => same.OrderByDescending(file => RegularFile.Describe(file).Bytes).ThenBy(file => file, StringComparer.Ordinal).First())
            .OrderBy(Path.GetFileNameWithoutExtension, StringComparer.Ordinal);
        var assemblies = TextCorpus.Unwrapped(() => chosen.AsParallel().AsOrdered().Select(Read).OfType<Assembly>().ToArray());
        // within each assembly first, so that the sizes for the split are close to the final ones
        Parallel.ForEach(assemblies, assembly => assembly.DropRepeated([]));
        var heldOut = HeldOutSplit.Choose(assemblies, assembly => assembly.Name, assembly => assembly.Size, heldOutShare);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        // held-out text first: a sentence that is in both stays there, so the held-out text is complete
        foreach (var assembly in assemblies.OrderByDescending(heldOut.Contains)) assembly.DropRepeated(seen);
        TextDocument[] Documents(bool held) =>
            [.. assemblies.Where(assembly => heldOut.Contains(assembly) == held && assembly.Size > 0).Select(assembly => assembly.ToDocument())];
        var corpus = new TextCorpus(source, Documents(false), Documents(true));
        if (corpus.Training.Count == 0 || corpus.HeldOut.Count == 0)
            throw new InvalidDataException(
                $"{source}: {assemblies.Length} files with documentation are too few for a split; expected several of similar size");
        return corpus;
    }

    static Assembly? Read(string file)
    {
        try
        {
            var lines = DocumentationText.Lines(file);
            return lines.Count == 0 ? null : new Assembly(Path.GetFileNameWithoutExtension(file), lines.ConvertAll(Sentences));
        }
        catch (XmlException)
        {
            return null;        // packages contain other XML files too
        }
    }

    /// <summary>Splits a line after each full stop, question mark or exclamation mark that is followed by a space.</summary>
    internal static List<string> Sentences(string line)
    {
        var sentences = new List<string>();
        int start = 0;
        for (int i = 0; i + 1 < line.Length; i++)
        {
            if (line[i] is not ('.' or '!' or '?') || line[i + 1] != ' ') continue;
            sentences.Add(line[start..(i + 1)]);
            start = i + 2;
        }
        if (start < line.Length) sentences.Add(line[start..]);
        return sentences;
    }

    /// <summary>Returns the folders of .NET installations, that of the running process first.</summary>
    static IEnumerable<string> DotnetRoots()
    {
        var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string?[] candidates =
        [
            Path.GetDirectoryName(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH")), Environment.GetEnvironmentVariable("DOTNET_ROOT"),
            Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..")),
            "/usr/share/dotnet", "/usr/lib/dotnet", "/usr/lib64/dotnet", "/usr/local/share/dotnet", Path.Combine(home, ".dotnet"),
            Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles), "dotnet"),
        ];
        return candidates.Where(path => !string.IsNullOrEmpty(path)).Select(path => Path.TrimEndingDirectorySeparator(path!)).Distinct()
            .Where(Directory.Exists);
    }

    static IEnumerable<string> PackageRoots()
    {
        var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string?[] candidates = [Environment.GetEnvironmentVariable("NUGET_PACKAGES"), Path.Combine(home, ".nuget", "packages")];
        return candidates.Where(path => !string.IsNullOrEmpty(path)).Select(path => path!).Distinct().Where(Directory.Exists);
    }

    // packs/Microsoft.NETCore.App.Ref/10.0.0/ref/net10.0/*.xml, of the newest version
    static string[] TargetingPack(string pack) => Newest(pack)
        .Select(version => Path.Combine(version, "ref")).Where(Directory.Exists)
        .Select(folder => Directory.GetFiles(folder, "*.xml", SearchOption.AllDirectories)).FirstOrDefault(files => files.Length > 1) ?? [];

    // <id>/<version>/(lib|ref)/<framework>/X.xml next to X.dll, of the newest version of each package
    static string[] Packages(string root) => Directory.EnumerateDirectories(root).Order(StringComparer.Ordinal)
        .Select(id => Newest(id).FirstOrDefault()).OfType<string>()
        .SelectMany(version => new[] { "lib", "ref" }.Select(kind => Path.Combine(version, kind)).Where(Directory.Exists))
        .SelectMany(folder => Directory.EnumerateFiles(
        folder, "*.xml", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 1 }))
        .Where(file => File.Exists(Path.ChangeExtension(file, ".dll"))).ToArray();

    static IEnumerable<string> Newest(string folder) => !Directory.Exists(folder) ? [] : Directory.GetDirectories(folder)
        .OrderByDescending(version => Version.TryParse(Path.GetFileName(version).Split('-')[0], out var number) ? number : new Version())
        .ThenBy(version => Path.GetFileName(version).Contains('-')).ThenByDescending(version => version, StringComparer.Ordinal);

    sealed class Assembly(string name, List<List<string>> lines)
    {
        public string Name => name;

        public long Size { get; private set; }

        public void DropRepeated(HashSet<string> seen)
        {
            foreach (var line in lines) line.RemoveAll(sentence => !seen.Add(sentence));
            lines.RemoveAll(line => line.Count == 0);
            Size = lines.Sum(line => line.Sum(sentence => sentence.Length + 1L));
        }

        public TextDocument ToDocument()
        {
            var text = new StringBuilder((int)Size);
            foreach (var line in lines) text.AppendJoin(' ', line).Append('\n');
            return new TextDocument(name, text.ToString());
        }
    }
}
