using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Tests.Checkpoints;

public sealed class AtomicWriteTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static Action<string> Writes(string text) => path => File.WriteAllText(Path.Combine(path, "file"), text);

    [Fact]
    public void A_folder_is_replaced_completely_and_nothing_is_left_next_to_it()
    {
        AtomicWrite.Folder(folder["made/run"], Writes("one"));
        File.WriteAllText(folder["made/run/stale"], "");
        AtomicWrite.Folder(folder["made/run/"], Writes("two"));
        Assert.Equal("two", File.ReadAllText(folder["made/run/file"]));
        Assert.False(File.Exists(folder["made/run/stale"]));
        Assert.Single(Directory.GetFileSystemEntries(folder["made"]));
    }

    [Fact]
    public void A_failure_while_writing_leaves_the_old_folder()
    {
        AtomicWrite.Folder(folder["run"], Writes("one"));
        Assert.Throws<FormatException>(() => AtomicWrite.Folder(folder["run"], path =>
        {
            Writes("half")(path);
            throw new FormatException();
        }));
        Assert.Equal("one", File.ReadAllText(folder["run/file"]));
        Assert.Single(Directory.GetFileSystemEntries(folder.Path));
    }

    [Theory]
    [InlineData(true, "two")]
    [InlineData(false, "one")]
    public void A_death_between_the_two_moves_is_completed_by_the_next_use(bool newIsThere, string expected)
    {
        var mark = new string('a', 32);
        Directory.CreateDirectory(folder[$".run.{mark}.old"]);
        Writes("one")(folder[$".run.{mark}.old"]);
        if (newIsThere)
        {
            Directory.CreateDirectory(folder[$".run.{mark}.new"]);
            Writes("two")(folder[$".run.{mark}.new"]);
        }
        AtomicWrite.Recover(folder["run"]);
        Assert.Equal(expected, File.ReadAllText(folder["run/file"]));
        Assert.Single(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public async Task A_reader_completes_the_exchange_of_a_process_that_died_while_the_reader_waited_for_it()
    {
        AtomicWrite.Folder(folder["run"], Writes("one"));
        var held = PathLock.Try(folder[".run.lock"], out _);
        Assert.NotNull(held);
        Task<string> reader;
        using (held)
        {
            reader = Task.Run(
                () => AtomicWrite.Read(folder["run"], () => File.ReadAllText(folder["run/file"])), TestContext.Current.CancellationToken);
            Assert.NotSame(reader, await Task.WhenAny(reader, Task.Delay(300, TestContext.Current.CancellationToken)));
            Directory.Move(folder["run"], folder[$".run.{new string('a', 32)}.old"]);
        }
        Assert.Equal("one", await reader);
        Assert.Equal([folder["run"]], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void A_half_written_folder_never_replaces_the_old_one()
    {
        Directory.CreateDirectory(folder[$".run.{new string('b', 32)}.new"]);
        AtomicWrite.Recover(folder["run"]);
        Assert.False(Directory.Exists(folder["run"]));
        AtomicWrite.Folder(folder["run"], Writes("one"));
        Assert.Equal("one", File.ReadAllText(folder["run/file"]));
    }

    [Fact]
    public void Long_abandoned_leftovers_go_and_young_ones_stay()
    {
        string young = folder[$".run.{new string('c', 32)}.new"], abandoned = folder[$".run.{new string('d', 32)}.new"],
            foreign = folder[$".running.{new string('d', 32)}.new"];
        foreach (var path in new[] { young, abandoned, foreign }) Directory.CreateDirectory(path);
        foreach (var path in new[] { abandoned, foreign }) Directory.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddDays(-1));
        AtomicWrite.Folder(folder["run"], Writes("one"));
        Assert.True(Directory.Exists(young));
        Assert.True(Directory.Exists(foreign));
        Assert.False(Directory.Exists(abandoned));
    }

    [Fact]
    public void A_file_instead_of_a_folder_is_refused_and_vice_versa()
    {
        File.WriteAllText(folder["file"], "");
        Assert.Contains("is a file", Assert.Throws<ArgumentException>(() => AtomicWrite.Folder(folder["file"], _ => { })).Message);
        Assert.Contains("is a folder", Assert.Throws<ArgumentException>(() => AtomicWrite.Text(folder.Path, "")).Message);
        Assert.Contains("absent", Assert.Throws<DirectoryNotFoundException>(() => AtomicWrite.Text(folder["absent/file"], "")).Message);
    }

    [Fact]
    public void An_error_of_a_write_names_the_file_and_no_temporary_one()
    {
        string file = folder["file"];
        var denied = Assert.Throws<UnauthorizedAccessException>(() => AtomicWrite.File(file, fresh =>
            throw new UnauthorizedAccessException($"Access to the path '{fresh}' is denied.")));
        Assert.Equal($"Access to the path '{file}' is denied.", denied.Message);
        var full = Assert.Throws<IOException>(() => AtomicWrite.File(file, fresh => throw new IOException($"No space left: '{fresh}'", 28)));
        Assert.Equal(($"No space left: '{file}'", 28), (full.Message, full.HResult));
    }
}
