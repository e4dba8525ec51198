using System.Runtime.InteropServices;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Training.Tests;

[Collection("signals")]     // signals reach the whole process: one test at a time
public partial class StopSignalsTests
{
    // SIGINT would also stop the test runner, which listens to it
    public static TheoryData<int, int> Signals => new() { { 15, 143 }, { 1, 129 } };

    [Theory]
    [MemberData(nameof(Signals))]
    public void The_first_signal_cancels_and_later_ones_are_ignored_and_reported(int signal, int exitCode)
    {
        if (OperatingSystem.IsWindows()) return;        // Windows has no signal to send to one process alone
        SkipIfHangUpIsIgnored();
        var lines = new List<string>();
        using var reported = new SemaphoreSlim(0);
        using var stop = new StopSignals(report: line =>
        {
            lock (lines) lines.Add(line);
            reported.Release();
        });
        Assert.Equal(0, stop.ExitCode);
        foreach (int sent in new[] { signal, signal, 15, 1 })
        {
            Assert.Equal(0, Kill(Environment.ProcessId, sent));
            Assert.True(reported.Wait(TimeSpan.FromSeconds(60)), "the signal was not reported");
        }
        Assert.True(stop.Token.WaitHandle.WaitOne(TimeSpan.FromSeconds(60)), "the token was not cancelled");
        Assert.Equal(exitCode, stop.ExitCode);
        Assert.Equal(4, lines.Count);
        Assert.Contains("further signals are ignored for 60 s", lines[0]);
        Assert.All(lines.Skip(1), line => Assert.Contains("still saving; ignored", line));
    }

    [Fact]
    public void A_report_that_cannot_be_written_does_not_end_the_program()
    {
        if (OperatingSystem.IsWindows()) return;
        SkipIfHangUpIsIgnored();
        using var stop = new StopSignals(report: _ => throw new IOException("the terminal is gone"));
        Assert.Equal(0, Kill(Environment.ProcessId, 1));
        Assert.True(stop.Token.WaitHandle.WaitOne(TimeSpan.FromSeconds(60)), "the token was not cancelled");
    }

    [Theory]
    [InlineData(PosixSignal.SIGINT, 130)]
    [InlineData(PosixSignal.SIGTERM, 143)]
    [InlineData(PosixSignal.SIGHUP, 129)]
    public void The_exit_status_is_that_of_the_first_signal(PosixSignal signal, int exitCode)
    {
        using var stop = new StopSignals();
        Assert.Equal(TimeSpan.FromSeconds(60), stop.Receive(signal, out bool first));
        Assert.True(first);
        Assert.InRange(stop.Receive(PosixSignal.SIGTERM, out first), TimeSpan.Zero, TimeSpan.FromSeconds(60));
        Assert.False(first);
        Assert.Equal(exitCode, stop.ExitCode);
    }

    [Fact]
    public void After_the_patience_signals_end_the_program()
    {
        using var stop = new StopSignals(TimeSpan.Zero);
        Assert.True(stop.Receive(PosixSignal.SIGINT, out bool first) >= TimeSpan.Zero);
        Assert.True(first);
        Assert.True(stop.Receive(PosixSignal.SIGTERM, out first) < TimeSpan.Zero);
        Assert.False(first);
        Assert.Equal(130, stop.ExitCode);
    }

    [Theory]
    [InlineData(-1.0)]
    [InlineData(90_000.0)]
    public void A_patience_outside_a_day_is_refused(double seconds) =>
        Assert.Equal("patience", Assert.Throws<ArgumentOutOfRangeException>(() => new StopSignals(TimeSpan.FromSeconds(seconds))).ParamName);

    // as nohup does: StopSignals leaves the signal ignored, so none of those that a test sends would arrive
    static void SkipIfHangUpIsIgnored() => Assert.SkipWhen(StopSignals.IsIgnored(PosixSignal.SIGHUP), "this process ignores SIGHUP");

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
