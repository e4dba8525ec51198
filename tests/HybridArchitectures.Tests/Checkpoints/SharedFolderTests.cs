using System.Collections.Concurrent;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Tests several threads that save to one folder and read from it. The test of the folder of a trainer uses several processes.</summary>
public sealed class SharedFolderTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Threads_save_to_one_folder_and_load_from_it()
    {
        int saves = Effort.Choose(everyday: 40, full: 400);
        using var model = HybridDesign.Create(8, 12).WithAttention(heads: 2).WithFeedForward(FeedForwardSpec.SwiGlu(8))
            .Depth(1).Ratio(attention: 1, ssm: 0).Build().CreateModel(seed: 1);
        Checkpoint.Save(model, folder["model"]);
        var errors = new ConcurrentQueue<Exception>();
        int working = 4, loads = 0;
        void Write()
        {
            for (int i = 0; i < saves; i++) Try(() => Checkpoint.Save(model, folder["model"]), errors);
            Interlocked.Decrement(ref working);
        }
        void Read()
        {
            do Try(Load, errors);
            while (Volatile.Read(ref working) > 0);
        }
        void Load()
        {
            using var loaded = Checkpoint.Load(folder["model"]);
            AtomicWrite.RecoverAll(folder.Path);
            Interlocked.Increment(ref loads);
        }
        Thread[] all = [new(Write), new(Write), new(Write), new(Write), new(Read), new(Read)];
        foreach (var thread in all) thread.Start();
        foreach (var thread in all) thread.Join();
        Assert.True(errors.IsEmpty, $"{errors.Count} of {4 * saves} saves and {loads} loads failed, first with {errors.FirstOrDefault()}");
        Assert.True(loads > 0);
        Assert.Equal(["model"], Directory.GetFileSystemEntries(folder.Path).Select(Path.GetFileName));
        using var last = Checkpoint.Load(folder["model"]);
        Assert.Equal(model.State.Count, last.State.Count);
    }

    static void Try(Action act, ConcurrentQueue<Exception> errors)
    {
        try
        {
            act();
        }
        catch (Exception error)
        {
            errors.Enqueue(error);
        }
    }

    [Fact]
    public void A_lock_has_one_holder_and_leaves_no_file()
    {
        var path = folder[".lock"];
        int inside = 0, takings = 0;
        var threads = Enumerable.Range(0, 6).Select(_ => new Thread(() =>
        {
            for (int i = 0; i < 200; i++)
            {
                using var held = PathLock.Take(path, TimeSpan.FromMinutes(10));
                if (Interlocked.Increment(ref inside) == 1) Interlocked.Increment(ref takings);
                Interlocked.Decrement(ref inside);
            }
        })).ToArray();
        foreach (var thread in threads) thread.Start();
        foreach (var thread in threads) thread.Join();
        Assert.Equal(1200, takings);
        Assert.False(File.Exists(path));
    }

    [Fact]
    public void A_lock_that_is_held_names_the_conflict_and_one_that_cannot_be_made_its_cause()
    {
        using (PathLock.Try(folder["a"], out var free))
        {
            Assert.Null(free);
            Assert.Null(PathLock.Try(folder["a"], out var conflict));
            Assert.NotNull(conflict);
            Assert.Contains("locked by another", Assert.Throws<IOException>(() => PathLock.Take(folder["a"], TimeSpan.FromMilliseconds(50))).Message);
        }
        Assert.ThrowsAny<IOException>(() => PathLock.Try(folder["absent/lock"], out _));
        Directory.CreateDirectory(folder["folder"]);
        Assert.ThrowsAny<SystemException>(() => PathLock.Try(folder["folder"], out _));
    }

    [Fact]
    public void A_refusal_that_passes_is_tried_again_and_a_lasting_one_is_not_hidden()
    {
        int calls = 0;
        Retry.Briefly(() =>
        {
            if (++calls < 4) throw calls % 2 == 0 ? new IOException("sharing violation") : new UnauthorizedAccessException("access denied");
        }, mayPass: true);
        Assert.Equal(4, calls);
        calls = 0;
        Assert.Throws<UnauthorizedAccessException>(() => Retry.Briefly(() =>
        {
            calls++;
            throw new UnauthorizedAccessException("access denied");
        }, mayPass: false));
        Assert.Equal(1, calls);
        Assert.Throws<DirectoryNotFoundException>(() => Retry.Briefly(() =>
        {
            calls++;
            throw new DirectoryNotFoundException();
        }, mayPass: true));
        Assert.Equal(2, calls);
    }

    [Fact]
    public void An_abandoned_file_of_a_dead_writer_goes_and_a_young_one_stays()
    {
        string old = folder[$".text.{new string('a', 32)}.new"], young = folder[$".text.{new string('b', 32)}.new"],
            foreign = folder[$".texts.{new string('a', 32)}.new"];
        foreach (var path in new[] { old, young, foreign }) File.WriteAllText(path, "half");
        foreach (var path in new[] { old, foreign }) File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddDays(-1));
        AtomicWrite.Text(folder["text"], "whole");
        Assert.False(File.Exists(old));
        Assert.True(File.Exists(young) && File.Exists(foreign));
        Assert.Equal("whole", File.ReadAllText(folder["text"]));
    }
}
