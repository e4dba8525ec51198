using System;
using System.Collections.Generic;
using System.Collections.Immutable;
using System.Linq;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Diagnostics;
using Microsoft.CodeAnalysis.Operations;

namespace HybridArchitectures.Analyzers;

/// <summary>
/// Warns of calls of TorchSharp that end the process instead of throwing an exception, because their native code does not catch exceptions.
/// <list type="number">
/// <item>HYB001: calls that end the process for a wrong shape or number.</item>
/// <item>HYB002: numbers converted to enumerations of TorchSharp, which are passed to native code without a check.</item>
/// <item>HYB003: function classes of TorchSharp, where an exception in the gradient ends the process.</item>
/// </list>
/// </summary>
[DiagnosticAnalyzer(LanguageNames.CSharp)]
public sealed class ProcessEndingCallAnalyzer : DiagnosticAnalyzer
{
    internal static readonly DiagnosticDescriptor Call = new("HYB001", "TorchSharp call that can end the process",
        "{0} ends the process where {1}: {2}", "Reliability", DiagnosticSeverity.Warning, isEnabledByDefault: true);

    internal static readonly DiagnosticDescriptor Enumeration = new("HYB002", "Unchecked number as an enumeration of TorchSharp",
        "A number that names no {0} ends the process in native code: use a named value, or check with Enum.IsDefined in a method that suppresses "
        + "this warning",
        "Reliability", DiagnosticSeverity.Warning, isEnabledByDefault: true);

    internal static readonly DiagnosticDescriptor Function = new("HYB003", "Gradient whose exceptions end the process",
        "An exception in backward of {0} ends the process: use HybridArchitectures.Kernels.Runtime.Autograd.Apply", "Reliability",
        DiagnosticSeverity.Warning, isEnabledByDefault: true);

    const string Torch = "TorchSharp.torch", Tensor = "TorchSharp.torch.Tensor";

    static readonly Dictionary<string, (string Where, string Instead)> Calls = new()
    {
        [$"{Tensor}.matmul"] = ("shapes do not fit", "use mm, bmm, einsum or nn.functional.linear"),
        [$"{Torch}.matmul"] = ("shapes do not fit", "use mm, bmm, einsum or nn.functional.linear"),
        [$"{Tensor}.cummax"] = ("the dimension does not exist", "check it first"),
        [$"{Torch}.cummax"] = ("the dimension does not exist", "check it first"),
        [$"{Tensor}.cummin"] = ("the dimension does not exist", "check it first"),
        [$"{Torch}.cummin"] = ("the dimension does not exist", "check it first"),
        [$"{Torch}.autograd.grad"] = ("libtorch refuses", "use HybridArchitectures.Kernels.Runtime.Autograd.Backward and the leaves' grad"),
        [$"{Torch}.set_rng_state"] = ("the tensor is no state of a generator", "use manual_seed"),
        [$"{Torch}.random.set_rng_state"] = ("the tensor is no state of a generator", "use manual_seed"),
        [$"{Torch}.Generator.set_state"] = ("the tensor is no state of a generator", "use manual_seed"),
        [$"{Torch}.set_num_threads"] = ("the number is below 1", "check it first"),
        [$"{Torch}.set_num_interop_threads"] = ("the number is below 1 or has been set before", "check it first"),
    };

    static readonly ImmutableHashSet<string> Enumerations = ImmutableHashSet.Create($"{Torch}.ScalarType", "TorchSharp.DeviceType");

    static readonly ImmutableHashSet<string> Functions = ImmutableHashSet.Create("SingleTensorFunction", "MultiTensorFunction");

    /// <inheritdoc/>
    public override ImmutableArray<DiagnosticDescriptor> SupportedDiagnostics => ImmutableArray.Create(Call, Enumeration, Function);

    /// <inheritdoc/>
    public override void Initialize(AnalysisContext context)
    {
        context.ConfigureGeneratedCodeAnalysis(GeneratedCodeAnalysisFlags.None);
        context.EnableConcurrentExecution();
        context.RegisterOperationAction(CheckMethod, OperationKind.Invocation, OperationKind.MethodReference);
        context.RegisterOperationAction(CheckConversion, OperationKind.Conversion);
        context.RegisterSymbolAction(CheckType, SymbolKind.NamedType);
    }

    static void CheckMethod(OperationAnalysisContext context)
    {
        var method = context.Operation is IInvocationOperation invocation ? invocation.TargetMethod
            : ((IMethodReferenceOperation)context.Operation).Method;
        var name = $"{method.ContainingType?.ToDisplayString()}.{method.Name}";
        if (!Calls.TryGetValue(name, out var call) || HasConstant(context.Operation)) return;
        context.ReportDiagnostic(Diagnostic.Create(
            Call, context.Operation.Syntax.GetLocation(), $"{method.ContainingType!.Name}.{method.Name}", call.Where, call.Instead));
    }

    // the author of a constant sees its value
    static bool HasConstant(IOperation operation) =>
        operation is IInvocationOperation { TargetMethod.Name: "set_num_threads" or "cummax" or "cummin" } invocation
        && invocation.Arguments.FirstOrDefault(
        argument => argument.Value.Type?.SpecialType is SpecialType.System_Int32
        or SpecialType.System_Int64) is { Value.ConstantValue.HasValue: true };

    static void CheckConversion(OperationAnalysisContext context)
    {
        var conversion = (IConversionOperation)context.Operation;
        if (conversion.IsImplicit || conversion.Type is not INamedTypeSymbol { TypeKind: TypeKind.Enum } type
            || !Enumerations.Contains(type.ToDisplayString())) return;
        if (conversion.Operand.Type is not { } operand || (operand.TypeKind != TypeKind.Enum && !IsNumber(operand.SpecialType))) return;
        if (conversion.ConstantValue is { HasValue: true, Value: { } value }
            && type.GetMembers().OfType<IFieldSymbol>().Any(field => field.HasConstantValue && Equals(field.ConstantValue, value))) return;
        context.ReportDiagnostic(Diagnostic.Create(Enumeration, conversion.Syntax.GetLocation(), type.Name));
    }

    static bool IsNumber(SpecialType type) => type is >= SpecialType.System_SByte and <= SpecialType.System_Double;

    static void CheckType(SymbolAnalysisContext context)
    {
        var type = (INamedTypeSymbol)context.Symbol;
        if (type.BaseType is { } parent && Functions.Contains(parent.Name)
            && parent.ToDisplayString().StartsWith($"{Torch}.autograd.", StringComparison.Ordinal))
            context.ReportDiagnostic(Diagnostic.Create(Function, type.Locations[0], type.Name));
    }
}
