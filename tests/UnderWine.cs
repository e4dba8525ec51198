namespace HybridArchitectures;

/// <summary>Tells whether this program was published to run under Wine (<c>-p:UnderWine=true</c>), whose faults are not those of Windows.</summary>
internal static class UnderWine
{
    public static bool IsOn { get; } = AppContext.TryGetSwitch("HybridArchitectures.UnderWine", out bool isOn) && isOn;
}
