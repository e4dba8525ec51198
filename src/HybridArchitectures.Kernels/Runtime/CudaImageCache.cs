using System.Security.Cryptography;
using System.Text;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Stores compiled kernels on disk, each under the hash of everything from which it was compiled. A file begins with the hash of its contents: a
/// truncated or changed file is compiled again. Several processes of one user can share the folder, because each writes a separate file and moves it
/// into place. Kernels run on the GPU, so only files of a <see cref="PrivateFolder"/> are used.
/// </summary>
static class CudaImageCache
{
    /// <summary>Returns the key of the image of a source for an architecture.</summary>
    public static string Key(CudaSource source, IReadOnlyList<string> options, string compilerVersion)
    {
        var parts = new List<string> { "1", source.Name, source.Text, compilerVersion };
        foreach (var (name, text) in source.Headers) parts.AddRange([name, text]);
        parts.AddRange(options);
        // lengths distinguish lists of parts with equal concatenations
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(parts.Select(part => $"{part.Length}:{part}")))));
    }

    /// <summary>Returns the image with a key, or null if there is none that this user wrote.</summary>
    public static byte[]? Read(string folder, string key)
    {
        try
        {
            using var images = Open(folder);
            var bytes = images.Read(FileName(key));
            bool whole = bytes.Length > SHA256.HashSizeInBytes
                && SHA256.HashData(bytes.AsSpan(SHA256.HashSizeInBytes)).AsSpan().SequenceEqual(bytes.AsSpan(0, SHA256.HashSizeInBytes));
            return whole ? bytes[SHA256.HashSizeInBytes..] : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or EntryPointNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Stores an image. If the folder is not writable, or belongs to another user, the next process compiles again.</summary>
    public static void Write(string folder, string key, ReadOnlySpan<byte> image)
    {
        try
        {
            using var images = Open(folder);
            images.Write(FileName(key), SHA256.HashData(image), image.ToArray());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or EntryPointNotFoundException)
        {
        }
    }

    public static string PathOf(string folder, string key) => Path.Combine(folder, "cuda", FileName(key));

    static PrivateFolder Open(string folder) => PrivateFolder.Open(Path.Combine(folder, "cuda"));

    static string FileName(string key) => $"{key}.image";
}
