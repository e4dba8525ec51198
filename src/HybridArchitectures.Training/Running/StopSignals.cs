using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Converts the signals that ask a program to stop into a <see cref="CancellationToken"/>, so that a run is saved before the program ends.
/// <para>1. The first of SIGINT (Ctrl-C), SIGTERM and SIGHUP (a closed terminal) cancels <see cref="Token"/>. The program saves and returns.</para>
/// <para>2. Later signals are ignored for <see cref="Patience"/> after the first one, so that they cannot interrupt the save.</para>
/// <para>3. A signal after that ends the process as if this type did not exist.</para>
/// <para>
/// Every signal is reported. A signal that the process ignored from the start, as <c>nohup</c> does with SIGHUP, remains ignored on Linux. On
/// Windows, Ctrl-C, a closed console window (as SIGHUP) and a shutdown (as SIGTERM) are handled. Windows ends a program about 5 seconds after its
/// window was closed.
/// </para>
/// </summary>
/// <example>
/// <code>
/// using var stop = new StopSignals(report: Console.Error.WriteLine);
/// Console.WriteLine(stop.Token.IsCancellationRequested);                          // False; pass stop.Token to Trainer.Run
/// </code>
/// </example>
public sealed class StopSignals : IDisposable
{
    static readonly PosixSignal[] Signals = [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP];

    readonly Lock gate = new();
    readonly CancellationTokenSource source = new();
    readonly ManualResetEventSlim finished = new();
    readonly Action<string>? report;
    readonly PosixSignalRegistration[] registrations;
    PosixSignal? first;
    long firstAt;

    /// <summary>Starts to handle the signals, until disposed.</summary>
    /// <param name="patience">The time after the first signal during which later ones are ignored. The default, null, means 60 seconds.</param>
    /// <param name="report">Receives one line for each signal, on the thread of the signal. The default, null, reports nothing.</param>
    /// <exception cref="ArgumentOutOfRangeException">The patience is negative or longer than one day.</exception>
    public StopSignals(TimeSpan? patience = null, Action<string>? report = null)
    {
        Patience = patience ?? TimeSpan.FromSeconds(60);
        Require.InRange(Patience >= TimeSpan.Zero && Patience <= TimeSpan.FromDays(1), nameof(patience), Patience, "a time from 0 to 1 day");
        this.report = report;
        registrations = [.. Signals.Where(signal => !IsIgnored(signal)).Select(signal => PosixSignalRegistration.Create(signal, Handle))];
    }

    /// <summary>Gets the time after the first signal in which later signals are ignored.</summary>
    public TimeSpan Patience { get; }

    /// <summary>Gets the token that the first signal cancels.</summary>
    public CancellationToken Token => source.Token;

    /// <summary>
    /// Gets the exit status that shells use for the first signal: 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP, and 0 if there was none.
    /// </summary>
    public int ExitCode => first switch
    {
        null => 0,
        PosixSignal.SIGTERM => 128 + 15,
        PosixSignal.SIGHUP => 128 + 1,
        _ => 128 + 2,
    };

    /// <summary>Stops handling the signals.</summary>
    public void Dispose()
    {
        finished.Set();
        foreach (var registration in registrations) registration.Dispose();
    }

    void Handle(PosixSignalContext context)
    {
        var left = Receive(context.Signal, out bool isFirst);
        if (left < TimeSpan.Zero)
        {
            Report($"{context.Signal}: the time to save, {Seconds(Patience)}, is over; the program ends");
            return;
        }
        context.Cancel = true;
        if (isFirst) _ = source.CancelAsync();      // code that waits for the token must not run on this thread
        Report(isFirst ? $"{context.Signal}: saving and stopping; further signals are ignored for {Seconds(Patience)}"
            : $"{context.Signal}: still saving; ignored, and so are further signals for {Seconds(left)}");
        // Windows ends the process when the handler of a closing window or of a shutdown returns
        if (OperatingSystem.IsWindows() && context.Signal != PosixSignal.SIGINT) finished.Wait(Patience);
    }

    /// <summary>Records a signal and returns the remaining patience.</summary>
    internal TimeSpan Receive(PosixSignal signal, out bool isFirst)
    {
        lock (gate)
        {
            isFirst = first is null;
            if (!isFirst) return Patience - Stopwatch.GetElapsedTime(firstAt);
            (first, firstAt) = (signal, Stopwatch.GetTimestamp());
            return Patience;
        }
    }

    // a program must not die, or fail to save, because its terminal is gone
    void Report(string line)
    {
        try
        {
            report?.Invoke(line);
        }
        catch (IOException)
        {
        }
    }

    static string Seconds(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{Math.Ceiling(time.TotalSeconds):0} s");

    // Linux lists ignored signals as a mask; on other systems, none counts as ignored
    internal static bool IsIgnored(PosixSignal signal)
    {
        const string status = "/proc/self/status", field = "SigIgn:";
        int number = signal switch { PosixSignal.SIGHUP => 1, PosixSignal.SIGINT => 2, _ => 15 };
        if (!OperatingSystem.IsLinux() || !File.Exists(status)) return false;
        var line = File.ReadLines(status).FirstOrDefault(line => line.StartsWith(field, StringComparison.Ordinal));
        return line is not null && ulong.TryParse(
            line.AsSpan(field.Length).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ulong mask)
            && (mask >> (number - 1) & 1) != 0;
    }
}
