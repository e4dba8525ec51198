using System.Security.Cryptography;
using System.Text;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Compiled kernels on disk, each under the hash of everything it was made from. A file begins with the hash of its contents: what is cut short or changed is
/// compiled anew. Any number of processes may share the folder: each writes a file of its own and moves it into place.
/// </summary>
static class CudaImageCache
{
    /// <summary>What names the image of a source for an architecture.</summary>
    public static string Key(CudaSource source, IReadOnlyList<string> options, string compilerVersion)
    {
        var parts = new List<string> { "1", source.Name, source.Text, compilerVersion };
        foreach (var (name, text) in source.Headers) parts.AddRange([name, text]);
        parts.AddRange(options);
        // lengths keep two lists of parts from reading the same
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(parts.Select(part => $"{part.Length}:{part}")))));
    }

    public static byte[]? Read(string folder, string key)
    {
        try
        {
            var bytes = File.ReadAllBytes(PathOf(folder, key));
            bool whole = bytes.Length > SHA256.HashSizeInBytes
                && SHA256.HashData(bytes.AsSpan(SHA256.HashSizeInBytes)).AsSpan().SequenceEqual(bytes.AsSpan(0, SHA256.HashSizeInBytes));
            return whole ? bytes[SHA256.HashSizeInBytes..] : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Keeps an image. A folder that cannot be written costs the next process a compilation, no more.</summary>
    public static void Write(string folder, string key, ReadOnlySpan<byte> image)
    {
        var path = PathOf(folder, key);
        var temporary = $"{path}.{Environment.ProcessId}.{Guid.NewGuid():N}";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            try
            {
                using (var stream = File.Create(temporary))
                {
                    stream.Write(SHA256.HashData(image));
                    stream.Write(image);
                }
                File.Move(temporary, path, overwrite: true);
            }
            finally
            {
                File.Delete(temporary);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    public static string PathOf(string folder, string key) => Path.Combine(folder, "cuda", $"{key}.image");
}
