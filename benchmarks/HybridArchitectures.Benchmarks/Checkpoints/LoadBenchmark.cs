using System.Diagnostics;
using System.Globalization;
using System.IO.MemoryMappedFiles;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Checkpoints;

/// <summary>
/// Measures how fast a bfloat16 checkpoint in the layout of Hugging Face becomes a float32 model, and compares it with only reading the same file.
/// </summary>
static class LoadBenchmark
{
    const int Buffer = 4 << 20;

    public static int Run(double gigabytes, string? folder, int repeats)
    {
        if (!(gigabytes is > 0 and <= 64)) throw new ArgumentException($"--gigabytes is {gigabytes}; expected above 0, up to 64");
        ArgumentOutOfRangeException.ThrowIfLessThan(repeats, 1);
        string place = Path.Combine(folder ?? Path.GetTempPath(), $"hybrid-load-{Environment.ProcessId}");
        Directory.CreateDirectory(place);
        try
        {
            var watch = Stopwatch.StartNew();
            var path = Make(gigabytes, Path.Combine(place, "model"));
            double size = new FileInfo(path).Length / 1e9;
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{size:0.00} GB of bfloat16 in {path}, made in {watch.Elapsed.TotalSeconds:0} s; {Environment.ProcessorCount} processors"));
            Console.WriteLine("cache  way               seconds    GB/s  of plain read  processor seconds, of them in the system");
            foreach (bool cold in new[] { true, false })
            {
                var plain = Best(repeats, path, cold, () => ReadPlainly(path));
                Say(cold, "plain read", plain, plain, size);
                Say(cold, "mapped read", Best(repeats, path, cold, () => ReadMapped(path)), plain, size);
                Say(cold, "read, then cast", Best(repeats, path, cold, () => ReadThenCast(path)), plain, size);
                Say(cold, "load", Best(repeats, path, cold, () => PretrainedModel.Load(Path.GetDirectoryName(path)!)), plain, size);
            }
            return 0;
        }
        finally
        {
            Directory.Delete(place, recursive: true);
        }
    }

    static string Make(double gigabytes, string folder)
    {
        const int width = 2048, vocabulary = 32_000;
        long perBlock = Design(1).CountParameters().Total - (long)vocabulary * width;
        int depth = Math.Max(1, (int)Math.Round((gigabytes * 1e9 / 2 - (double)vocabulary * width) / perBlock));
        using (var model = Design(depth).CreateModel(seed: 1))
            PretrainedModel.Save(model, folder, "llama", new() { Type = ScalarType.BFloat16, ShardBytes = long.MaxValue });
        return Path.Combine(folder, "model.safetensors");

        static HybridDesign Design(int depth) => HybridDesign.Create(width, vocabulary).WithAttention(heads: 32, keyValueHeads: 8)
            .WithFeedForward(FeedForwardSpec.SwiGlu(8192)).Pattern(new string('T', depth)).Build();
    }

    sealed record Time(double Seconds, double Processor, double System);

    static Time Best(int repeats, string path, bool cold, Func<IDisposable?> read)
    {
        var best = new Time(double.PositiveInfinity, 0, 0);
        var process = Process.GetCurrentProcess();
        for (int i = 0; i < repeats; i++)
        {
            if (cold) DropFromCache(path);
            else if (i == 0) ReadPlainly(path);
            GC.Collect();
            process.Refresh();
            var (all, system) = (process.TotalProcessorTime, process.PrivilegedProcessorTime);
            var watch = Stopwatch.StartNew();
            var result = read();
            double seconds = watch.Elapsed.TotalSeconds;
            process.Refresh();
            if (seconds < best.Seconds)
                best = new(seconds, (process.TotalProcessorTime - all).TotalSeconds, (process.PrivilegedProcessorTime - system).TotalSeconds);
            result?.Dispose();
        }
        return best;
    }

    static void Say(bool cold, string way, Time time, Time plain, double size) => Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"{(cold ? "cold" : "warm"),-5}  {way,-15}  {time.Seconds,8:0.00}  {size / time.Seconds,6:0.00}  {plain.Seconds / time.Seconds,13:0%}  "
        + $"{time.Processor,17:0.00}  {time.System,21:0.00}"));

    // what one would write with the tensors of the file: each read in its own type, then cast
    static IDisposable? ReadThenCast(string path)
    {
        var scope = NewDisposeScope();
        using var file = SafetensorsFile.Open(path);
        foreach (var entry in file.Entries)
            using (var stored = file.Read(entry.Name)) stored.to(ScalarType.Float32);
        return scope;
    }

    static IDisposable? ReadPlainly(string path)
    {
        using var file = File.OpenHandle(path);
        var buffer = GC.AllocateUninitializedArray<byte>(Buffer);
        for (long offset = 0; RandomAccess.Read(file, buffer, offset) is > 0 and var got;) offset += got;
        return null;
    }

    static unsafe IDisposable? ReadMapped(string path)
    {
        using var file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        using var view = file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        byte* start = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        try
        {
            long length = new FileInfo(path).Length, sum = 0;
            for (long offset = 0; offset < length; offset += 4096) sum += start[offset];
            if (sum == long.MinValue) Console.WriteLine();      // the reads are not to be left out
            return null;
        }
        finally
        {
            view.SafeMemoryMappedViewHandle.ReleasePointer();
        }
    }

    // the file's pages out of the system's cache, as far as it lets itself be told so
    static void DropFromCache(string path)
    {
        if (!OperatingSystem.IsLinux()) return;
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        RandomAccess.FlushToDisk(file);
        const int dontNeed = 4;
        if (posix_fadvise(file.DangerousGetHandle().ToInt32(), 0, 0, dontNeed) != 0) throw new IOException("the system keeps the file in its cache");
    }

    [System.Runtime.InteropServices.DllImport("libc")]
    static extern int posix_fadvise(int file, long offset, long length, int advice);
}
