using System.Security.Cryptography;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// A copy of TorchSharp's native library that loads under an older libstdc++, kept in a cache folder under the hash of its contents.
/// Safe with any number of processes at once: each writes a file of its own and moves it into place; what is there is checked before it is used.
/// </summary>
static class CorrectedCopy
{
    // GCC 13's iostream initialiser carries this version; it is named in the symbol table and never called.
    static readonly string[] UnusedVersions = ["GLIBCXX_3.4.31", "GLIBCXX_3.4.32"];

    public static string Of(string original, string cacheFolder)
    {
        var bytes = File.ReadAllBytes(original);
        if (ElfVersionNeeds.Weaken(bytes, UnusedVersions) == 0)
            throw new DllNotFoundException(
                $"{original} cannot be loaded, and not for the libstdc++ version it names; 'ldd {original}' shows what this system lacks.");
        var name = Convert.ToHexStringLower(SHA256.HashData(bytes));
        Exception? first = null;
        foreach (var folder in new[] { cacheFolder, Path.Combine(Path.GetTempPath(), $"HybridArchitectures-{Environment.UserName}") })
        {
            try
            {
                return Place(bytes, Path.Combine(folder, "native", name), Path.GetFileName(original));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                first ??= e;      // a read-only home, say: the temporary folder is the next best
            }
        }
        throw new DllNotFoundException($"no place to keep the corrected copy of {original}: {first!.Message} Let HYBRID_CACHE_PATH name a writable folder.", first);
    }

    static string Place(byte[] bytes, string folder, string fileName)
    {
        if (OperatingSystem.IsWindows()) Directory.CreateDirectory(folder);
        else Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var path = Path.Combine(folder, fileName);
        if (File.Exists(path) && File.ReadAllBytes(path).AsSpan().SequenceEqual(bytes)) return path;
        var temporary = Path.Combine(folder, $"{fileName}.{Environment.ProcessId}.{Guid.NewGuid():N}");
        try
        {
            File.WriteAllBytes(temporary, bytes);
            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
        return path;
    }
}
