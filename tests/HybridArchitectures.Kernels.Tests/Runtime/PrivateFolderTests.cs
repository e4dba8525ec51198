#pragma warning disable CA1416 // these tests skip where modes of files are not known
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public sealed class PrivateFolderTests : IDisposable
{
    readonly string root = Directory.CreateTempSubdirectory("private-").FullName;

    string Folder => Path.Combine(root, "cuda");

    public void Dispose() => Directory.Delete(root, recursive: true);

    static void SkipUnlessLinux() => Assert.SkipUnless(OperatingSystem.IsLinux(), "owners and modes are checked on Linux");

    [Fact]
    public void Images_are_kept_where_only_the_user_can_reach_them()
    {
        CudaImageCache.Write(root, "key", [1, 2, 3]);
        Assert.Equal([1, 2, 3], CudaImageCache.Read(root, "key"));
        SkipUnlessLinux();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Folder));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(CudaImageCache.PathOf(root, "key")));
    }

    [Fact]
    public void A_folder_that_others_could_write_is_closed_and_its_open_files_are_not_taken()
    {
        SkipUnlessLinux();
        CudaImageCache.Write(root, "open", [1]);
        CudaImageCache.Write(root, "closed", [2]);
        File.SetUnixFileMode(CudaImageCache.PathOf(root, "open"), (UnixFileMode)0b110_110_110);
        File.SetUnixFileMode(Folder, (UnixFileMode)0b111_111_111);
        Assert.Null(CudaImageCache.Read(root, "open"));
        Assert.Equal([2], CudaImageCache.Read(root, "closed"));
        Assert.Equal((UnixFileMode)0b111_000_000, File.GetUnixFileMode(Folder));
        CudaImageCache.Write(root, "open", [3]);
        Assert.Equal([3], CudaImageCache.Read(root, "open"));
    }

    [Fact]
    public void A_symbolic_link_instead_of_the_folder_is_refused()
    {
        SkipUnlessLinux();
        var elsewhere = Directory.CreateDirectory(Path.Combine(root, "elsewhere")).FullName;
        CudaImageCache.Write(elsewhere, "key", [9]);
        Directory.CreateSymbolicLink(Folder, Path.Combine(elsewhere, "cuda"));
        Assert.Null(CudaImageCache.Read(root, "key"));
        Assert.Throws<UnauthorizedAccessException>(() => PrivateFolder.Open(Folder));
        CudaImageCache.Write(root, "other", [1]);
        Assert.Single(Directory.GetFiles(Path.Combine(elsewhere, "cuda")));
    }

    [Fact]
    public void A_folder_or_file_of_another_user_is_refused()
    {
        SkipUnlessLinux();
        Assert.SkipUnless(Environment.UserName == "root" && GivenAway(), "only root can give a folder to another user");
        Assert.Contains("belongs to user", Assert.Throws<UnauthorizedAccessException>(() => PrivateFolder.Open(Folder)).Message);
        Assert.Null(CudaImageCache.Read(root, "key"));
        Owner("0", Folder);
        Assert.Equal([1], CudaImageCache.Read(root, "key"));
        Owner("65534", CudaImageCache.PathOf(root, "key"));
        Assert.Null(CudaImageCache.Read(root, "key"));
    }

    bool GivenAway()
    {
        CudaImageCache.Write(root, "key", [1]);
        return Owner("65534", Folder);
    }

    static bool Owner(string user, string path)
    {
        using var process = System.Diagnostics.Process.Start("chown", [user, path]);
        process.WaitForExit();
        return process.ExitCode == 0;
    }

    [Fact]
    public void Replacing_the_folder_changes_nothing_for_those_who_opened_it()
    {
        SkipUnlessLinux();
        using var opened = PrivateFolder.Open(Folder);
        opened.Write("name", [4]);
        Directory.Move(Folder, Folder + ".moved");
        Directory.CreateDirectory(Folder);
        File.WriteAllBytes(Path.Combine(Folder, "name"), [5]);
        Assert.Equal([4], opened.Read("name"));
    }
}
