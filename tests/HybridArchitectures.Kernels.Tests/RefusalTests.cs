using System.Reflection;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Calls every public operator with unfit arguments. Each call either works or throws an exception that names an argument.</summary>
public class RefusalTests
{
    static readonly Dictionary<string, Func<Tensor?>> Unfit = new()
    {
        ["null"] = () => null,
        ["scalar"] = () => tensor(1f),
        ["integers"] = () => ones([2, 3], ScalarType.Int64),
        ["no elements"] = () => zeros([0]),
        ["no rows"] = () => zeros([0, 4]),
        ["no channels"] = () => zeros([2, 3, 0]),
        ["five dimensions"] = () => zeros([1, 1, 1, 1, 2]),
        ["float16"] = () => zeros([2, 3], ScalarType.Float16),
        ["complex"] = () => zeros([2, 3, 2, 2], ScalarType.ComplexFloat32),
        ["another device"] = () => zeros([2, 3, 2, 2], device: new Device("meta")),
        ["disposed"] = Disposed,
        ["fit for some"] = () => zeros([1, 3, 2, 2]),
    };

    public static TheoryData<string, string> Operators()
    {
        var data = new TheoryData<string, string>();
        foreach (var type in Types)
            foreach (var name in Methods(type).Select(method => method.Name).Distinct()) data.Add(type.FullName!, name);
        Assert.True(data.Count > 30, $"{data.Count} operators; expected those of all namespaces");
        return data;
    }

    // the references check no shapes: they are the formulas that tests compare with
    static IEnumerable<Type> Types => typeof(RmsNorm).Assembly.GetExportedTypes().Where(type => type.Namespace is "HybridArchitectures.Kernels"
        or "HybridArchitectures.Kernels.Operators");

    static Tensor Disposed()
    {
        var tensor = ones(2, 3);
        tensor.Dispose();
        return tensor;
    }

    [Fact]
    public void References_name_a_tensor_that_is_null_or_disposed()
    {
        foreach (var type in typeof(RmsNorm).Assembly.GetExportedTypes().Where(type => type.Namespace == "HybridArchitectures.Kernels.Reference"))
            foreach (var method in Methods(type))
                foreach (string kind in new[] { "null", "disposed" })
                {
                    using var scope = NewDisposeScope();
                    object?[] arguments = [.. method.GetParameters().Select(parameter => Argument(parameter, Unfit[kind]))];
                    Try(method, arguments, $"{type.Name}.{method.Name}, {kind}");
                }
    }

    static IEnumerable<MethodInfo> Methods(Type type) => type.GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly)
        .Where(method => !method.IsSpecialName && method.GetParameters().Any(parameter => parameter.ParameterType == typeof(Tensor)));

    [Theory]
    [MemberData(nameof(Operators))]
    public void Unfit_arguments_are_refused_by_name(string type, string name)
    {
        foreach (var method in Methods(typeof(RmsNorm).Assembly.GetType(type)!).Where(method => method.Name == name))
            foreach (var (first, make) in Unfit)
                // tensors that are all on a device without kernels are no fault of an argument
                foreach (bool others in first == "another device" ? [false] : new[] { false, true })
                {
                    using var scope = NewDisposeScope();
                    Try(method, [.. method.GetParameters()
                        .Select((parameter, i) => Argument(parameter, i == 0 || others ? make : Unfit["fit for some"]))],
                        $"{type}.{name}, {first}{(others ? " everywhere" : "")}");
                }
    }

    [Fact]
    public void Devices_that_libtorch_does_not_know_are_refused_before_native_code_sees_them()
    {
        using var scope = NewDisposeScope();
        var none = new Device((TorchSharp.DeviceType)99);
        using var layout = SequenceLayout.Packed([[1, 2], [2]], 3);
        foreach (var call in new Action[]
        {
            () => SequenceLayout.Padded([2, 3], 3, none), () => SequenceLayout.Padded([3, 3], 3, none),
            () => SequenceLayout.Packed([[1, 2], [2]], 3, none),
            () => AttentionPositions.FromLayout(layout, none), () => _ = new AttentionDecodeWorkspace(1, 1, none),
            () => Indices.From([1, 2], none), () => Indices.Range(0, 2, none), () => Rotary.InverseFrequencies(4, 1e4, device: none),
        })
            Assert.Equal("device", Assert.Throws<ArgumentException>(call).ParamName);
        Assert.Equal("count", Assert.Throws<ArgumentOutOfRangeException>(() => Indices.Range(0, -1, CPU)).ParamName);
        Assert.Equal("values", Assert.Throws<ArgumentNullException>(() => Indices.From(null!, CPU)).ParamName);
    }

    static object? Argument(ParameterInfo parameter, Func<Tensor?> tensor)
    {
        var type = parameter.ParameterType;
        if (type == typeof(Tensor)) return tensor();
        if (parameter.HasDefaultValue) return parameter.DefaultValue;
        return type.IsEnum ? Enum.ToObject(type, 99) : type.IsValueType ? Activator.CreateInstance(type) : null;
    }

    static void Try(MethodInfo method, object?[] arguments, string what)
    {
        try
        {
            method.Invoke(null, arguments);
        }
        catch (TargetInvocationException e)
        {
            Assert.True(e.InnerException is ArgumentException { ParamName.Length: > 0 },
                $"{what}: {e.InnerException!.GetType().Name}: {e.InnerException.Message.Split('\n')[0]}");
            if (e.InnerException is not ArgumentNullException) Assert.Matches(@"^.+; expected .+\. \(Parameter '\w+'\)$", e.InnerException.Message);
        }
    }
}
